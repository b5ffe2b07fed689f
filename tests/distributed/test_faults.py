"""Faults, provoked as `pipelines/benchmark.py faults` does it: killed processes, half-written files, Ctrl-C, NaN."""

import json
from pathlib import Path

import numpy as np
import pytest

from dwm_ray.benchmarks.cluster.faults import checks, killed, limits, resumed, scenarios
from dwm_ray.benchmarks.cluster.faults.checks import Outcome
from dwm_ray.benchmarks.cluster.faults.harness import FaultHarness
from dwm_ray.blocks import block_files
from dwm_ray.blocks.journal import Journal
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.cli import session
from dwm_ray.data.segment_rows import SegmentShape
from pipelines import sweep

SHAPE = SegmentShape(horizon=1, obs_size=1, act_size=1, num_actions=1)
SPEC = StreamSpec("model", {}, 0.5, 0.9, 8, 4, 0)
SWEEP = Path(__file__).parents[2] / "pipelines" / "sweep.py"


@pytest.mark.cluster
@pytest.mark.timeout(1800)  # the machine may be busy
def test_a_sweep_survives_kills_and_accounts_for_every_row(cluster: str, file: Path, tmp_path: Path) -> None:
    """Sampler, buffer, storage, learner, trial; the driver and truncated files; Ctrl-C; NaN; nothing is left behind."""
    harness = FaultHarness(cluster, tmp_path, SWEEP, ("--task", "pendulum", "--data", str(file)))
    try:
        outcomes = list(scenarios.in_one_sweep(harness, scenarios.NUM_UPDATES))
    finally:
        harness.end_all()
    assert [outcome.fault for outcome in outcomes] == [
        "sampler killed",
        "buffer killed",
        "storage write errors",
        "learner killed",
        "trial process killed",
        "driver killed, then --resume",
        "Ctrl-C",
        "NaN loss",
    ]
    for outcome in outcomes:
        assert outcome.exact, outcome
        assert outcome.leftovers == (), outcome
        if outcome.fault != "sampler killed":  # its bound in seconds is for a machine that is not busy
            assert outcome.passed, outcome


def a_run(run: Path, recorded: int, counted: int, complete: bool = True) -> Path:
    """Two blocks of four rows on disk; a journal of the first `recorded` blocks, and `counted` rows in the counters."""
    for index in range(2):
        block_files.write_block(run, SPEC, index, np.zeros((4, SHAPE.width), np.float32), SHAPE)
    journal = Journal(block_files.stream_folder(run, SPEC))
    for index in range(recorded):
        journal.record_block(index, 4, accepted=True)
    journal.record_cursor("a", recorded, 4 * recorded)
    counters = {"segments_sampled": counted, "segments_consumed": 4 * recorded, "segments_dropped": 0}
    (run / "counters.json").write_text(json.dumps(counters))
    if complete:
        (block_files.stream_folder(run, SPEC) / "stream.json").write_text("{}")
    return run


def test_rows_are_exact_only_if_files_journal_and_counters_agree(tmp_path: Path) -> None:
    assert checks.rows_exact(a_run(tmp_path / "right", recorded=2, counted=8))
    assert checks.rows_exact(a_run(tmp_path / "interrupted", recorded=1, counted=0, complete=False))
    assert not checks.rows_exact(a_run(tmp_path / "unrecorded", recorded=1, counted=4))
    assert not checks.rows_exact(a_run(tmp_path / "miscounted", recorded=2, counted=4))
    assert not checks.rows_exact(a_run(tmp_path / "too many", recorded=1, counted=8, complete=False))
    twice = a_run(tmp_path / "twice", recorded=2, counted=8)
    Journal(block_files.stream_folder(twice, SPEC)).record_cursor("a", 2, 16)
    assert not checks.rows_exact(twice)
    gone = a_run(tmp_path / "gone", recorded=2, counted=8)
    (block_files.stream_folder(gone, SPEC) / "block-000001.parquet").unlink()
    assert not checks.rows_exact(gone)


def test_only_placement_groups_may_be_released_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray can miss a placement group of a killed program, which the next program releases. An actor that is gone by
    then was left behind anyway."""
    groups, actors = {"before": "placement group (created)"}, dict[str, str]()
    monkeypatch.setattr(FaultHarness, "_groups", lambda harness: dict(groups))
    monkeypatch.setattr(FaultHarness, "_actors", lambda harness: dict(actors))
    monkeypatch.setattr("dwm_ray.benchmarks.cluster.faults.harness.CLEANUP_S", 0.0)
    harness = FaultHarness("address", Path(), SWEEP, ())
    assert harness.leftovers() == ()
    actors["gone"] = "actor Sampler"
    groups |= {"freed": "placement group (pending)", "stays": "placement group (created)"}
    remains = harness.remains()
    assert remains.keys() == {"gone", "freed", "stays"}
    del groups["freed"], actors["gone"]
    groups["of the next"] = "placement group (created)"
    assert harness.not_released(remains) == ("actor Sampler", "placement group (created)")


def test_rows_of_the_table() -> None:
    bad = Outcome("a learner", "lost all", 1.25, "900 updates", False, ("actor Sampler",), False)
    assert bad.cells() == ["a learner", "lost all", "1.2 s", "900 updates", "NO", "actor Sampler", "NO"]
    assert Outcome.not_run("a node", "one machine").cells() == ["a node", "not run: one machine", *"–––––"]


def test_an_error_in_a_scenario_is_a_row_and_the_next_ones_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> list[Outcome]:
        raise OSError("no disk")

    class Nowhere:
        def end_all(self) -> None:
            pass

    monkeypatch.setattr(scenarios.limits, "sampler_memory", broken)
    monkeypatch.setattr(scenarios, "in_one_sweep", broken)
    monkeypatch.setattr(scenarios.resumed, "early_stop", broken)
    monkeypatch.setattr(scenarios.limits, "blocked_and_full", lambda harness: [Outcome.not_run("storage", "no root")])
    outcomes = list(scenarios.inject_all(Nowhere(), "pendulum", None))  # type: ignore[arg-type]
    assert [outcome.passed for outcome in outcomes[:4]] == [False, False, False, None]
    assert "error: no disk" in outcomes[0].cells()[1]


@pytest.mark.parametrize("words", [scenarios.DIVERGING, resumed.ASHA, limits.SIZES])
def test_options_of_the_sweeps_are_valid(words: list[str]) -> None:
    _, config, _ = session.options(sweep.Command, [*killed.SMALL, *killed.ENDLESS, *words], "")
    assert config.synthesis.num_segments == 10_000_000

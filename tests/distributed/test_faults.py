"""Faults, provoked as `pipelines/benchmark.py faults` does it: killed processes, half-written files, Ctrl-C, NaN."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dwm_ray.benchmarks.cluster.faults import checks, suite
from dwm_ray.benchmarks.cluster.faults.harness import Arena
from dwm_ray.benchmarks.cluster.faults.outcome import NotRun, Outcome, markdown_table
from dwm_ray.blocks import block_files
from dwm_ray.blocks.journal import Journal
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.types import SegmentShape

SHAPE = SegmentShape(horizon=1, obs_size=1, act_size=1, num_actions=1)
SPEC = StreamSpec("model", {}, 0.5, 0.9, 8, 4, 0)
SWEEP = Path(__file__).parents[2] / "pipelines" / "sweep.py"


@pytest.mark.cluster
@pytest.mark.timeout(1800)  # the machine may be busy
def test_a_sweep_outlives_its_processes_and_its_driver_and_counts_every_row(
    cluster: str, file: Path, tmp_path: Path
) -> None:
    """Sampler, buffer, storage, learner, trial; the driver and torn files; Ctrl-C; NaN; nothing is left behind."""
    arena = Arena(cluster, tmp_path, SWEEP, ("--task", "pendulum", "--data", str(file)))
    try:
        found = list(suite.in_one_sweep(arena, suite.NUM_UPDATES))
    finally:
        arena.end_all()
    assert [line.fault for line in found] == [
        "a sampler",
        "the buffer",
        "storage that fails",
        "a learner",
        "a trial's process",
        "the driver (--resume)",
        "Ctrl-C",
        "a NaN loss",
    ]
    for line in found:
        assert isinstance(line, Outcome)
        assert line.exact, line
        assert line.left == (), line
        if line.fault != "a sampler":  # its bound in seconds is for a machine that is not busy
            assert line.expected, line


def a_run(run: Path, told: int, counted: int, whole: bool = True) -> Path:
    """Two blocks of four rows on disk, of which the account has been told so many, and rows drawn as counted."""
    for index in range(2):
        block_files.write_block(run, SPEC, index, np.zeros((4, SHAPE.width), np.float32), SHAPE)
    account = Journal(block_files.stream_folder(run, SPEC))
    for index in range(told):
        account.drew(index, 4, kept=True)
    account.read("a", told, 4 * told)
    counters = {"segments_sampled": counted, "segments_consumed": 4 * told, "segments_dropped": 0}
    (run / "counters.json").write_text(json.dumps(counters))
    if whole:
        (block_files.stream_folder(run, SPEC) / "stream.json").write_text("{}")
    return run


def test_rows_are_exact_only_where_files_account_and_counters_agree(tmp_path: Path) -> None:
    assert checks.rows_exact(a_run(tmp_path / "right", told=2, counted=8))
    assert checks.rows_exact(a_run(tmp_path / "cut off", told=1, counted=0, whole=False))
    assert not checks.rows_exact(a_run(tmp_path / "untold", told=1, counted=4))
    assert not checks.rows_exact(a_run(tmp_path / "miscounted", told=2, counted=4))
    assert not checks.rows_exact(a_run(tmp_path / "too many", told=1, counted=8, whole=False))
    twice = a_run(tmp_path / "twice", told=2, counted=8)
    Journal(block_files.stream_folder(twice, SPEC)).read("a", 2, 16)
    assert not checks.rows_exact(twice)
    gone = a_run(tmp_path / "gone", told=2, counted=8)
    (block_files.stream_folder(gone, SPEC) / "block-000001.parquet").unlink()
    assert not checks.rows_exact(gone)


def test_left_behind_by_a_killed_program_is_what_the_next_one_has_not_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray can miss a placement group of a program that is killed; `leftovers` frees it at the next one's start. An
    actor that is gone by then was left behind all the same."""
    groups, actors = {"before": "placement group (created)"}, dict[str, str]()
    monkeypatch.setattr(Arena, "_groups", lambda arena: dict(groups))
    monkeypatch.setattr(Arena, "_actors", lambda arena: dict(actors))
    monkeypatch.setattr("dwm_ray.benchmarks.cluster.faults.harness.CLEANING_S", 0.0)
    arena = Arena("address", Path(), SWEEP, ())
    assert arena.left() == ()
    actors["gone"] = "actor Sampler"
    groups |= {"freed": "placement group (pending)", "stays": "placement group (created)"}
    missed = arena.remains()
    assert missed.keys() == {"gone", "freed", "stays"}
    del groups["freed"], actors["gone"]
    groups["of the next"] = "placement group (created)"
    assert arena.unfreed(missed) == ("actor Sampler", "placement group (created)")


def test_the_table_says_what_was_not_run_and_what_was_not_as_expected() -> None:
    bad = Outcome("a learner", "lost all", 1.25, "900 updates", False, ("actor Sampler",), False)
    lines = markdown_table([bad, NotRun("a node", "one machine")]).splitlines()
    assert lines[2] == "| a learner | lost all | 1.2 s | 900 updates | NO | actor Sampler | NO |"
    assert "not run here: one machine" in lines[3]


def test_a_fault_that_breaks_off_is_a_line_and_the_next_ones_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> list[Outcome]:
        raise OSError("no disk")

    class Nowhere:
        def end_all(self) -> None:
            pass

    monkeypatch.setattr(suite.memory, "sampler_memory", broken)
    monkeypatch.setattr(suite, "in_one_sweep", broken)
    monkeypatch.setattr(suite.resumed, "early_stop", broken)
    monkeypatch.setattr(suite.storage, "slow_and_full", lambda arena: [NotRun("storage", "no root")])
    found = list(suite.provoke_all(Nowhere(), "pendulum", None))  # type: ignore[arg-type]
    assert [getattr(line, "expected", None) for line in found[:4]] == [False, False, False, None]
    assert "broke off: no disk" in found[0].cells()[1]

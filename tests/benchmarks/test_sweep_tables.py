"""Tables and factors of a sweep, from figures that are easy to check."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dwm_ray.benchmarks.observed import Observed, observe
from dwm_ray.benchmarks.process_usage import PROGRAM, RAYLET, SAMPLER, TRIAL, WORKER, Process
from dwm_ray.benchmarks.run_costs import Learned, RolloutShard, Spent
from dwm_ray.benchmarks.suites.sweep import Sweep
from dwm_ray.benchmarks.sweep_factors import factors
from dwm_ray.benchmarks.sweep_tables import cpu_rows, cpu_seconds, grids, memory_rows, store_limit, trial_seconds
from dwm_ray.runs.folder import RunFailed

STORE = "/ray/raylet/raylet --object_store_memory=4000000 --x"


def learner(imagines: bool, cpu_s: float, done_at: float) -> Learned:
    ring = (1_000_000, 3_000_000) if imagines else (0, 0)
    return Learned("iql", imagines, cpu_s - 1, 1.0, 8.0, 2.0, 1.0, 3.0 * imagines, 500_000_000, *ring, done_at)


def process(kind: str, cpu_s: float, since: float = 0.0, until: float = 0.0, title: str = "") -> Process:
    return Process(kind, title, since, until, cpu_s, 600_000_000, 2_000_000)


SEEN = Observed(
    100.0,
    (0.5, 2.5),
    [
        process(WORKER, 55.0),
        process(SAMPLER, 7.0),
        process(TRIAL, 4.0, 10.0, 61.0),
        process(TRIAL, 4.0, 12.0, 30.0),
        process(RAYLET, 2.0, title=STORE),
        process(PROGRAM, 8.0),
    ],
    Spent(
        [RolloutShard(20.0, 25.0, 400_000_000)],
        [RolloutShard(4.0, 5.0)],
        [learner(True, 16.0, 60.0), learner(False, 10.0, 29.0)],
        models_at=40.0,
    ),
)
ALONE = dataclasses.replace(
    SEEN,
    processes=[process(WORKER, 50.0), process(PROGRAM, 10.0)],
    parts=Spent(SEEN.parts.world_models, SEEN.parts.streams, SEEN.parts.learners[:1], 40.0),
)


def test_cpu_seconds_add_up_to_all_that_was_seen() -> None:
    found = cpu_seconds(SEEN)
    assert sum(found.values()) == SEEN.cpu_s == 80.0
    assert found["learners: updates"] == 24.0
    assert found["workers of Ray Train: start, data"] == 9.0
    assert found["samplers: start, data"] == 3.0
    assert cpu_rows(SEEN)[-2:] == [["training, sampling, evaluation", "50", "62.5 %"], ["all", "80", "100.0 %"]]


def test_factors_are_what_they_say() -> None:
    found = {factor.what: factor.value for factor in factors(SEEN, [])}
    assert found == pytest.approx(
        {
            "useful work / all processes": 50 / 80,
            "useful work / learners": 50 / 26,
            "all processes / learners": 80 / 26,
            "useful work / learners, 24 trials": (24 + 24 * 16) / (24 * 16),
            "all processes / learners, 24 trials": (24 + 24 * (16 + 15)) / (24 * 16),
            "one by one / shared, useful work": 1.0,
            "one by one / shared, useful work, 24 trials": 24 * 40 / (24 + 24 * 16),
        }
    )


def test_nothing_is_computed_that_was_measured() -> None:
    whole = dataclasses.replace(SEEN.parts, learners=[learner(True, 16.0, 60.0)] * 24)
    found = factors(dataclasses.replace(SEEN, parts=whole), [ALONE])
    assert not [factor.what for factor in found if "24 trials" in factor.what]


def test_trials_that_were_run_alone_are_measured_against() -> None:
    found = {factor.what: factor for factor in factors(SEEN, [ALONE, ALONE])}
    assert found["one trial's useful work, alone / as computed"].value == pytest.approx(1.0)
    assert found["one by one / shared, all processes"].value == pytest.approx((60 + 10 + 15) / 80)
    assert "2 measured alone" in found["one by one / shared, all processes"].origin
    assert found["one by one / shared, all processes, 24 trials"].value == pytest.approx(24 * 60 / (24 + 24 * 31))


def test_a_trials_time_begins_when_its_world_model_is_there() -> None:
    found = trial_seconds(SEEN)  # lives: 61 - 40 and 30 - 12
    assert sum(found.values()) == pytest.approx((21 + 18) / 2)
    assert found["waiting for imagined rows"] == 1.5
    assert found["start and end of processes"] == pytest.approx((21 - 14 + 18 - 11) / 2)
    restarted = dataclasses.replace(SEEN, processes=[*SEEN.processes, process(TRIAL, 0.0)])
    assert trial_seconds(restarted) == {}


def test_memory_is_told_beside_its_bounds() -> None:
    rows = {row[0]: row[1:] for row in memory_rows(SEEN)}
    assert rows["learner, by trial"] == ["2", "500", "–"]
    assert rows["world model's training"] == ["1", "400", "–"]
    assert rows[SAMPLER] == ["1", "600", "–"]
    assert rows["a learner's ring"] == ["1", "1", "3"]
    assert rows["object store, touched by one process"] == ["1", "2", "4"]
    assert WORKER not in rows
    assert store_limit(process(RAYLET, 0.0)) == 0


def test_every_table_has_as_many_cells_as_headers() -> None:
    for grid in grids(SEEN, [ALONE]):
        assert grid.rows
        assert {len(row) for row in grid.rows} == {len(grid.headers)}


def test_a_program_is_run_and_its_folder_read(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, pathlib\n"
        "folder = pathlib.Path(sys.argv[-1]) / 'run'\n"
        "folder.mkdir()\n"
        "(folder / 'config.json').write_text('{}')\n"
        "print('said')\n"
        "sys.exit(sys.argv[1] == 'fail')\n"
    )
    seen = observe(program, ["well"], tmp_path / "a")
    assert seen.wall_s > 0
    assert seen.parts.learners == []
    with pytest.raises(RunFailed, match=r"program.py ended with code 1 \(said\)"):
        observe(program, ["fail"], tmp_path / "b")


def test_the_words_of_a_sweep_and_of_its_trials() -> None:
    suite = Sweep(agents=("bc", "iql"), seeds=2, alone=3, updates=7)
    words = suite.together()
    assert words[:8] == ["--dimensions", "horizon=3,5", "--baselines", "--agents", "bc", "iql", "--seeds", "2"]
    assert Sweep(horizons=(1, 7), baselines=False).together()[1:3] == ["horizon=1,7", "--no-baselines"]
    assert words[words.index("--training.num-updates") + 1] == "7"
    assert [tuple(of[1:4:2]) for of in suite.by_themselves()] == [("bc", "0"), ("iql", "0"), ("bc", "1")]

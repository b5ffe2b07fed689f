"""Processes, costs, tables and factors of a sweep."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dwm_ray.benchmarks.sweep.observed_run import (
    HELPER,
    PROGRAM,
    RAYLET,
    SAMPLER,
    SERVICE,
    TRIAL,
    UNUSED,
    WORKER,
    ObservedRun,
    ProcessMonitor,
    ProcessUsage,
    kind_of,
    observe,
)
from dwm_ray.benchmarks.sweep.run_costs import LearnerCost, PartCost, RunCosts
from dwm_ray.benchmarks.sweep.suite import Sweep
from dwm_ray.benchmarks.sweep.tables import (
    cpu_rows,
    cpu_seconds,
    factors,
    memory_rows,
    object_store_bytes,
    tables,
    trial_seconds,
)
from dwm_ray.runs.folder import RunFailed

STORE = "/ray/raylet/raylet --object_store_memory=4000000 --x"


def learner(has_stream: bool, cpu_s: float, done_at: float) -> LearnerCost:
    ring = (1_000_000, 3_000_000) if has_stream else (0, 0)
    return LearnerCost("iql", has_stream, cpu_s - 1, 1.0, 8.0, 2.0, 1.0, 3.0 * has_stream, 500_000_000, *ring, done_at)


def process(kind: str, cpu_s: float, since: float = 0.0, until: float = 0.0, title: str = "") -> ProcessUsage:
    return ProcessUsage(kind, title, since, until, cpu_s, 600_000_000, 2_000_000)


SWEEP = ObservedRun(
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
    RunCosts(
        [PartCost(20.0, 25.0, 400_000_000)],
        [PartCost(4.0, 5.0)],
        [learner(True, 16.0, 60.0), learner(False, 10.0, 29.0)],
        models_at=40.0,
    ),
)
ALONE = dataclasses.replace(
    SWEEP,
    processes=[process(WORKER, 50.0), process(PROGRAM, 10.0)],
    costs=RunCosts(SWEEP.costs.world_models, SWEEP.costs.streams, SWEEP.costs.learners[:1], 40.0),
)


def test_cpu_seconds_add_up_to_all_processes() -> None:
    found = cpu_seconds(SWEEP)
    assert sum(found.values()) == SWEEP.cpu_s == 80.0
    assert found["learners: updates"] == 24.0
    assert found["workers of Ray Train: start, data"] == 9.0
    assert found["samplers: start, data"] == 3.0
    assert cpu_rows(SWEEP)[-2:] == [["training, sampling, evaluation", "50", "62.5 %"], ["all", "80", "100.0 %"]]


def test_factors() -> None:
    found = {factor.name: factor.value for factor in factors(SWEEP, [])}
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


def test_nothing_is_extrapolated_to_a_measured_number_of_trials() -> None:
    whole = dataclasses.replace(SWEEP.costs, learners=[learner(True, 16.0, 60.0)] * 24)
    found = factors(dataclasses.replace(SWEEP, costs=whole), [ALONE])
    assert not [factor.name for factor in found if "24 trials" in factor.name]


def test_separate_trials_are_compared_with() -> None:
    found = {factor.name: factor for factor in factors(SWEEP, [ALONE, ALONE])}
    assert found["one trial's useful work, alone / as computed"].value == pytest.approx(1.0)
    assert found["one by one / shared, all processes"].value == pytest.approx((60 + 10 + 15) / 80)
    assert "mean of 2 measured alone" in found["one by one / shared, all processes"].origin
    assert found["one by one / shared, all processes, 24 trials"].value == pytest.approx(24 * 60 / (24 + 24 * 31))


def test_the_time_of_a_trial_starts_when_its_world_model_is_complete() -> None:
    found = trial_seconds(SWEEP)  # lives: 61 - 40 and 30 - 12
    assert sum(found.values()) == pytest.approx((21 + 18) / 2)
    assert found["waiting for generated rows"] == 1.5
    assert found["start and end of processes"] == pytest.approx((21 - 14 + 18 - 11) / 2)
    restarted = dataclasses.replace(SWEEP, processes=[*SWEEP.processes, process(TRIAL, 0.0)])
    assert trial_seconds(restarted) == {}


def test_memory_rows_have_limits() -> None:
    rows = {row[0]: row[1:] for row in memory_rows(SWEEP)}
    assert rows["learner, by trial"] == [2, "500", None]
    assert rows["world-model training"] == [1, "400", None]
    assert rows[SAMPLER] == [1, "600", None]
    assert rows["ring of a learner"] == [1, "1", "3"]
    assert rows["object store, touched by one process"] == [1, "2", "4"]
    assert WORKER not in rows
    assert object_store_bytes(process(RAYLET, 0.0)) == 0


def test_every_table_has_as_many_cells_as_headers() -> None:
    for table in tables(SWEEP, [ALONE]):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.headers)}


def test_a_program_is_run_and_its_folder_is_read(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, pathlib\n"
        "folder = pathlib.Path(sys.argv[-1]) / 'run'\n"
        "folder.mkdir()\n"
        "(folder / 'config.json').write_text('{}')\n"
        "print('said')\n"
        "sys.exit(sys.argv[1] == 'fail')\n"
    )
    run = observe(program, ["well"], tmp_path / "a")
    assert run.wall_s > 0
    assert run.costs.learners == []
    with pytest.raises(RunFailed, match=r"program.py ended with code 1 \(said\)"):
        observe(program, ["fail"], tmp_path / "b")


def test_command_lines_of_a_sweep_and_of_its_trials() -> None:
    suite = Sweep(agents=("bc", "iql"), seeds=2, alone=3, updates=7)
    words = suite.sweep_words()
    assert words[:8] == ["--dimensions", "horizon=3,5", "--baselines", "--agents", "bc", "iql", "--seeds", "2"]
    assert Sweep(horizons=(1, 7), baselines=False).sweep_words()[1:3] == ["horizon=1,7", "--no-baselines"]
    assert words[words.index("--training.num-updates") + 1] == "7"
    assert [tuple(of[1:4:2]) for of in suite.single_trial_words()] == [("bc", "0"), ("iql", "0"), ("bc", "1")]


BUSY = "[None for _ in iter(lambda: time.process_time() < 0.05, False)]"  # several of the kernel's clock ticks
CHILD = f"import time; {BUSY}; print('ready', flush=True); time.sleep(60)"
PARENT = f'import subprocess, sys, time; {BUSY}; subprocess.run([sys.executable, "-c", "{CHILD}"])'


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("ray::RayTrainWorker.execute", WORKER),
        ("ray::sampler-0:Sampler.draw", SAMPLER),
        ("ray::Sampler", SAMPLER),
        ("ray::ImplicitFunc.train", TRIAL),
        ("ray::IDLE", UNUSED),
        ("/usr/bin/python -u /site-packages/ray/_private/workers/default_worker.py --node-ip=1", UNUSED),
        ("/lib/python3.11/ray/core/src/ray/raylet/raylet --python_worker_command=python default_worker.py", RAYLET),
        ("ray::DashboardAgent", SERVICE),
        ("ray::TrainController.run", HELPER),
        ("ray::_QueueActor.get", HELPER),
        ("/site-packages/ray/core/src/ray/gcs/gcs_server --x", SERVICE),
        ("ray-dashboard-JobHead-0 (python)", SERVICE),
    ],
)
def test_processes_are_classified_by_their_titles(title: str, kind: str) -> None:
    assert kind_of(title) == kind


def test_a_provisional_kind_changes_and_remains_when_the_process_ends() -> None:
    usage = ProcessUsage(UNUSED, "ray::IDLE", 1.0)
    usage.rename(TRIAL, "ray::ImplicitFunc", 2.0)
    usage.rename(SERVICE, "", 3.0)
    assert (usage.kind, usage.title, usage.since) == (TRIAL, "ray::ImplicitFunc", 2.0)


def test_descendants_are_monitored_also_without_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        [child] = psutil.Process(program.pid).children()
        monitor = ProcessMonitor(program.pid)
        try:
            monitor.sample()
            assert [usage.kind for usage in monitor.usages].count(PROGRAM) == 1
            assert len(monitor.usages) == 2
            assert all(usage.peak_bytes > 1e6 and usage.cpu_s > 0 for usage in monitor.usages)
            program.kill()
            program.wait()
            [last] = [usage.until for usage in monitor.usages if usage.kind == SERVICE]
            monitor.sample()
            assert [usage.until > last for usage in monitor.usages if usage.kind == SERVICE] == [True]
        finally:
            child.kill()


def test_a_sweep_with_its_defaults_has_no_other_words() -> None:
    suite = Sweep(defaults=True, alone=3)
    suite.check()
    assert (suite.sweep_words(), suite.single_trial_words()) == ([], [])

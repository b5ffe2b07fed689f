"""The estimated remaining time of a whole run, replayed from recorded rows of the first command of the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.cli.progress import run_progress
from dwm_ray.experiment.phases import Phase, phases_of
from dwm_ray.experiment.plan import SweepConfig, make_plan
from dwm_ray.experiment.profiles import name_of, run_config
from dwm_ray.experiment.remaining import Resources, estimate_progress
from dwm_ray.experiment.run_state import ModelState, RunState, StreamState, TrialState
from dwm_ray.experiment.search_space import Trial

RECORDED = json.loads((Path(__file__).parent / "first_command.json").read_text())
"""Seconds of a run on two cores: of every population and of the world model the rows (time, update, seconds, CPU
seconds), of the stream the times of its blocks."""
CONFIG = run_config("laptop", "dwm", "td3_bc", task="halfcheetah-medium-replay")
TRIALS = make_plan(SweepConfig(dimensions=(), seeds=2), CONFIG, "laptop").trials
START_S = 19.0


def last_row(recorded: dict[str, Any], time: float) -> dict[str, Any]:
    rows = [row for row in recorded["rows"] if row[0] <= time]
    names = ("update", "seconds", "cpu_s")
    return {**dict(zip(names, rows[-1][1:], strict=True)), "num_members": recorded.get("members", 1)} if rows else {}


def trial_state(trial: Trial, time: float) -> TrialState:
    config = trial.config
    recorded = RECORDED["populations"][f"{config.agent.plugin_name()} {name_of(config.world_model)}"]
    status = "done" if recorded["ended"] <= time else "running" if recorded["begun"] <= time else "pending"
    tree, total = config.model_dump(mode="json"), config.training.num_updates
    return TrialState(Path(trial.id), tree, {}, status, None, total, last_row(recorded, time), {}, config)


def state_at(time: float) -> RunState:
    """Return what the folder of the run held at a time."""
    model, stream = RECORDED["world_model"], RECORDED["stream"]
    blocks, done = [block for block in stream["blocks"] if block <= time], stream["ended"] <= time
    models = [ModelState(Path("m"), "dwm", model["ended"] <= time, 2500, last_row(model, time))]
    spec = StreamSpec.of(CONFIG, "m", 100)
    rows = sum(len(spec.rows_of(index)) for index in range(len(blocks)))
    spent = stream["seconds"] if done else blocks[-1] - blocks[0] if len(blocks) > 1 else 0.0
    streams = [StreamState(Path("s"), spec, done, len(blocks), rows, rows / spent if spent else None)]
    trials = [trial_state(trial, time) for trial in TRIALS]
    return RunState(trials, models, streams if blocks else [], {}, False, time, 12, 2, 2.0, 8, START_S)


@pytest.mark.parametrize("fraction", [1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.75, 5 / 6, 0.9])
def test_the_remaining_time_is_right_within_a_fifth_from_a_third_of_a_run_on(fraction: float) -> None:
    time, end = fraction * RECORDED["session_s"], RECORDED["session_s"]
    state = state_at(time)
    total = run_progress(state, phases_of(state), 12)
    assert total.remaining_s == pytest.approx(end - time, rel=0.2)
    assert total.fraction == pytest.approx(fraction, abs=0.1)


def test_a_method_that_has_not_started_costs_its_updates_and_not_what_another_one_costs() -> None:
    cheap, expensive = (
        Phase("learner", label, False, 0, 100, None, relative_cost=cost, position=1)
        for label, cost in (("a", 1), ("b", 3))
    )
    running = Phase("learner", "b", True, 50, 100, 30.0, cpu_s=30.0, relative_cost=3, position=0)
    assert estimate_progress([running, expensive], 2).remaining_s == pytest.approx(30 + 60)
    assert estimate_progress([running, cheap], 2).remaining_s == pytest.approx(30 + 20)


def test_processes_share_the_cpus_with_the_streams_beside_them() -> None:
    learners = [Phase("learner", "a", True, 50, 100, 90.0, cpu_s=60.0)] * 2
    stream = Phase("stream", "s", True, 50, 100, 60.0)
    calm = Phase("world model", "m", False, 100, 100, 50.0, cpu_s=50.0)
    resources = Resources(processes=2, cpus=2.0)
    assert estimate_progress([*learners, calm], 2, resources).remaining_s == pytest.approx(60.0)
    assert estimate_progress([*learners, calm, stream], 2, resources).remaining_s == pytest.approx(60 * 3 / 2)


def test_the_start_of_every_waiting_population_counts() -> None:
    phases = [Phase("learner", "a", True, 50, 100, 10.0), Phase("learner", "a", False, 0, 100, None)]
    assert estimate_progress(phases, 2, Resources(start_s=7.0)).remaining_s == pytest.approx(10 + 7 + 20)


def test_the_report_follows_the_last_trial() -> None:
    total = estimate_progress([Phase("learner", "a", False, 100, 100, 20.0)], 1, Resources(end_s=5.0))
    assert total.remaining_s == pytest.approx(5.0)
    assert total.fraction == pytest.approx(20 / 25)

"""Long sweeps print an estimate of their cost, and ask for --yes in a terminal."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_task import DWM, ONE_STEP, recording, tiny_config

from dwm_ray.cli import cost_estimate
from dwm_ray.cli.cost_estimate import estimated_hours, print_cost_estimate
from dwm_ray.cli.session import announce_synthesis
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity, load_task_data
from dwm_ray.experiment.plan import SweepConfig, make_plan
from dwm_ray.experiment.profiles import run_config
from dwm_ray.studies.bursts import GENERATE, LEARN, TRAIN, Bursts, PartCost


class HourPerPart(Bursts):
    """Bursts that measure nothing: every part of a method takes an hour."""

    def parts_of(self, config: RunConfig) -> tuple[list[PartCost], list[PartCost]]:
        one = [PartCost(name, "unit", 1, 3600.0, 0.0) for name in (TRAIN, GENERATE, LEARN)]
        return (one[:2] if config.world_model and config.world_model.plugin.trained else []), one[2:]


TASK_DATA: Any = SimpleNamespace(identity=DataIdentity("data", 1.0, 50_000))
"""What the keys of shared parts need of a dataset."""
BURSTS = HourPerPart(TASK_DATA, torch.device("cpu"), 1, 1, 1)


def configs(*dimensions: str, **sweep: Any) -> list[RunConfig]:
    config = run_config("laptop", "dwm", "iql")
    plan = make_plan(SweepConfig(dimensions=dimensions, agents=("iql",), **sweep), config, "laptop")
    return [trial.config for trial in plan.trials]


@pytest.fixture(autouse=True)
def an_hour_per_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_estimate, "Bursts", HourPerPart)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_shared_parts_count_once_and_learners_once_per_trial() -> None:
    hours = estimated_hours(configs("horizon=5,10", "target_rtg=own,0.5", seeds=3), BURSTS)
    assert hours == {TRAIN: 1.0, GENERATE: 2.0, "learn": 3.0 * (1 + 2 + 4)}, "model-free, recorded, DWM"


def test_a_window_length_needs_a_world_model_of_its_own() -> None:
    hours = estimated_hours(configs("sequence_length=16,32", baselines=False), BURSTS)
    assert hours == {TRAIN: 2.0, GENERATE: 2.0, "learn": 2.0}


@pytest.mark.parametrize(("terminal", "confirmed"), [(True, False), (True, True), (False, False)])
def test_a_run_of_more_than_a_day_asks_for_yes(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, confirmed: bool
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    console = Console(record=True, width=200)
    many: Any = configs("horizon=5,10", seeds=10)

    def announce() -> None:
        print_cost_estimate(console, many, TASK_DATA, True, confirmed)

    if terminal and not confirmed:
        with pytest.raises(ValueError, match="--yes: the run takes about 52 CPU hours"):
            announce()
    else:
        announce()
    assert "cost: about 52 CPU hours in total (train the world model 1 h" in console.export_text()


def test_a_machine_without_gpu_does_not_estimate_for_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    console = Console(record=True, width=200)
    print_cost_estimate(console, configs("horizon"), TASK_DATA, False, False)
    assert torch.cuda.is_available() or "cost: not estimated" in console.export_text()


def printed(*configs: RunConfig) -> str:
    text = io.StringIO()
    announce_synthesis(Console(file=text, width=200), load_task_data(configs[0]), configs)
    return text.getvalue()


def test_labels_and_targets_outside_of_them(tmp_path: Path) -> None:
    base = tiny_config(recording(tmp_path / "pendulum.hdf5"), DWM)  # rewards are negative
    targets = [base.with_values({"synthesis.target_rtg": target}) for target in ("own", "q0.5", -0.1)]
    assert printed(*targets).count("return-to-go labels -") == 1
    assert "outside" not in printed(*targets)
    assert "synthesis.target_rtg 0.5: outside the range of these labels" in printed(*targets, base)
    assert printed(base.with_values({"world_model": ONE_STEP}), base.with_values({"world_model": None})) == ""


def test_a_stream_that_is_shorter_than_the_data_is_announced(tmp_path: Path) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    assert "50 % of the 1200 recorded pairs" in printed(tiny_config(file, **{"synthesis.num_segments": 600}))
    assert "recorded pairs" not in printed(tiny_config(file, **{"synthesis.num_segments": 1200}))

"""Optuna chooses points; points that cannot run or were tried before are skipped; populations of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tiny_task import ONE_STEP, recording, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune.jobs import learner_name
from dwm_ray.distributed.tune.optuna_search import FeasibleOptuna
from dwm_ray.distributed.tune.sweep import populations
from dwm_ray.evaluation.evaluators import OBJECTIVE
from dwm_ray.experiment import profiles
from dwm_ray.experiment.plan import SweepConfig, axes_of, bases_of
from dwm_ray.experiment.search_space import Plan, Trial
from dwm_ray.runs.folder import RunFolder


def dwm_run(**options: Any) -> RunConfig:
    return profiles.run_config("laptop", "dwm").with_values(options)


class Sweep:
    """Optuna with a stand-in for Tune: the score of a trial is its horizon."""

    def __init__(self, plan: Plan, max_running: int = 1, **options: Any) -> None:
        sweep = SweepConfig(search="optuna", agents=("td3_bc",), **options)
        bases = {"td3_bc": bases_of(sweep, dwm_run(), "laptop")[0]}
        self.launched: list[Trial] = []
        self.failed = set[str]()
        self.search = FeasibleOptuna(
            axes_of(sweep, "paper"),
            bases,
            plan,
            self._launch,
            lambda trial: trial.id in self.failed,
            max_running,
            seed=0,
        )

    def _launch(self, trial: Trial) -> dict[str, Any]:
        self.launched.append(trial)
        return {"id": trial.id}

    def run(self, most: int) -> bool:
        """Up to `most` trials one after the other; True where the search says that nothing new is left."""
        for number in range(most):
            suggested = self.search.suggest(f"tune-{number}")
            if suggested == FeasibleOptuna.FINISHED:
                return True
            assert isinstance(suggested, dict)
            score = self.launched[-1].config.synthesis.horizon
            self.search.on_trial_complete(f"tune-{number}", {OBJECTIVE: score})
        return False


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_launches_only_new_trials_that_can_run_and_stops_when_none_is_left() -> None:
    sweep = Sweep(Plan(), dimensions=("horizon", "temperature"))
    assert sweep.run(13)
    points = [(t.values["horizon"], t.values["temperature"]) for t in sweep.launched]
    assert len(set(points)) == len(points) >= 8  # of 12: it asks 50 times for a new one
    assert all(t.config.synthesis.horizon == t.values["horizon"] for t in sweep.launched)


def test_optuna_counts_what_it_passed_over() -> None:
    plan = Plan()
    sweep = Sweep(plan, dimensions=("diffusion_steps", "sequence_length", "horizon", "filter_type", "keep_ratio"))
    sweep.run(6)
    assert len(sweep.launched) == 6
    assert plan.dropped["filter.keep_ratio: no such option with the chosen plug-ins"] > 0
    assert plan.trials == sweep.launched


def test_optuna_waits_while_all_slots_are_taken() -> None:
    sweep = Sweep(Plan(), max_running=2, dimensions=("horizon",))
    assert sweep.search.suggest("first")
    assert sweep.search.suggest("second")
    assert sweep.search.suggest("third") is None
    sweep.search.on_trial_complete("first", {OBJECTIVE: 1.0})
    assert sweep.search.suggest("third")


def test_a_recorded_failure_is_one_for_optuna_too() -> None:
    sweep = Sweep(Plan(), max_running=2, dimensions=("horizon",))
    for name in ("fails", "ends"):
        sweep.search.suggest(name)
    sweep.failed.add(sweep.launched[0].id)
    for name in ("fails", "ends"):  # Tune ends both trials normally, with the last score that was reported
        sweep.search.on_trial_complete(name, {OBJECTIVE: 1.0})
    states = {trial.state.name: trial.value for trial in sweep.search._inner._ot_study.trials}
    assert states == {"FAIL": None, "COMPLETE": 1.0}


def test_optuna_passes_over_trials_of_an_earlier_session() -> None:
    plan = Plan()
    first = Sweep(plan, dimensions=("horizon",))
    first.run(4)
    again = Sweep(plan, dimensions=("horizon",))
    again.run(4)
    assert (len(first.launched), len(again.launched)) == (4, 0)


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    """Eight trials of two agents that can form populations, two that cannot."""
    file = recording(tmp_path / "pendulum.hdf5")
    able = [tiny_config(file, agent=agent, seed=seed) for agent in ("td3_bc", "iql") for seed in range(4)]
    return [Trial(config, {"seed": config.seed}) for config in [*able, *unable(file)]]


def unable(file: Path) -> list[Any]:
    return [tiny_config(file, ONE_STEP), tiny_config(file, agent="cql")]


def services(folder: Path, at_once: int) -> ClusterServices:
    return cast(
        ClusterServices, SimpleNamespace(run=RunFolder(folder), placement=SimpleNamespace(concurrent_trials=at_once))
    )


def sizes(found: list[Sequence[Trial]]) -> list[int]:
    return sorted(map(len, found))


@pytest.mark.parametrize(
    ("most", "at_once", "expected"),
    [
        (1, 2, [1] * 10),
        (8, 2, [1] * 2 + [4] * 2),
        (3, 2, [1] * 2 + [2] * 4),
        (8, 5, [1] * 2 + [2] * 4),
        (8, 16, [1] * 2 + [1] * 8),
    ],
)
def test_populations(most: int, at_once: int, expected: list[int], trials: list[Trial], tmp_path: Path) -> None:
    result = populations(trials, services(tmp_path, at_once), most)
    assert sizes(result) == expected
    configs = sorted(trial.config.model_dump_json() for population in result for trial in population)
    assert configs == sorted(trial.config.model_dump_json() for trial in trials)
    assert len(set(map(learner_name, result))) == len(result)


def test_populations_that_train_a_world_model_start_first_and_longer_ones_before_shorter_ones(
    trials: list[Trial], tmp_path: Path
) -> None:
    """CQL takes longer than four IQL members and trains the model of most; a single trial has a model of its own."""
    result = populations(trials, services(tmp_path, 2), 8)
    order = [(own[0].config.agent.plugin_name(), len(own)) for own in result]
    assert order == [("cql", 1), ("td3_bc", 1), ("iql", 4), ("td3_bc", 4)]


def test_a_population_is_named_by_its_members(trials: list[Trial]) -> None:
    names = {learner_name(own) for own in (trials[:2], trials[1:3], trials[:3])}
    assert len(names) == 3
    assert learner_name(trials[:1]) == trials[0].id

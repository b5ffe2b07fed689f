"""Optuna chooses points; what cannot run or was tried before is passed over."""

from __future__ import annotations

from typing import Any

import pytest

from dwm_ray.config import RunConfig
from dwm_ray.distributed.tune.optuna_search import FeasibleOptuna
from dwm_ray.evaluation.evaluators import OBJECTIVE
from dwm_ray.experiment import profiles
from dwm_ray.experiment.plan import SweepConfig, axes_of, bases_of
from dwm_ray.experiment.search_space import Plan, Trial


def dwm_run(**options: Any) -> RunConfig:
    return profiles.run_config("laptop", "dwm").with_values(options)


class Sweep:
    """Optuna with a stand-in for Tune: the score of a trial is its horizon."""

    def __init__(self, plan: Plan, max_running: int = 1, **options: Any) -> None:
        sweep = SweepConfig(search="optuna", agents=("td3_bc",), **options)
        bases = {"td3_bc": bases_of(sweep, dwm_run(), "laptop")[0]}
        self.launched: list[Trial] = []
        self.search = FeasibleOptuna(axes_of(sweep, "paper"), bases, plan, self._launch, max_running, seed=0)

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


def test_optuna_passes_over_trials_of_an_earlier_session() -> None:
    plan = Plan()
    first = Sweep(plan, dimensions=("horizon",))
    first.run(4)
    again = Sweep(plan, dimensions=("horizon",))
    again.run(4)
    assert (len(first.launched), len(again.launched)) == (4, 0)

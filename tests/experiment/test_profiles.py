"""Defaults of methods, and the change from one method to another."""

from typing import Any

import pytest

from dwm_ray import registry
from dwm_ray.agents.iql import IQLConfig
from dwm_ray.agents.td3_bc import TD3BCConfig
from dwm_ray.cli.command_line import explicit_paths
from dwm_ray.experiment import profiles
from dwm_ray.experiment.plan import SweepConfig, make_plan
from dwm_ray.experiment.profiles import run_config, with_method


@pytest.fixture
def demanding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let IQL set a real ratio, a filter, and options that a world model has or lacks."""
    asked: dict[str, Any] = {
        "replay.real_ratio": 0.25,
        "filter": "hardmax",
        "world_model.temperature": 0.75,
        "world_model.no_such_option": 1,
    }
    iql = registry.find("agents", "iql").Config
    monkeypatch.setattr(iql, "run_options", classmethod(lambda cls, profile: asked))


@pytest.mark.parametrize("name", list(registry.plugins("world_models")))
@pytest.mark.parametrize("profile", list(profiles.OPTIONS))
def test_every_world_model_runs_by_default(name: str, profile: Any) -> None:
    assert run_config(profile, name).world_model is not None


@pytest.mark.parametrize("name", list(registry.plugins("agents")))
@pytest.mark.parametrize("profile", list(profiles.OPTIONS))
def test_every_agent_runs_by_default(name: str, profile: Any) -> None:
    assert run_config(profile, "dwm", name).agent.plugin_name() == name


def test_plugins_set_what_their_method_needs(demanding: None) -> None:
    run = run_config("laptop", "dwm", "iql")
    assert run.replay.real_ratio == 0.25
    assert run.filter.plugin_name() == "hardmax"
    assert run.world_model.temperature == 0.75  # type: ignore[union-attr]
    assert run.training.num_updates == 6000
    assert run_config("laptop", "one_step", "iql").world_model.plugin_name() == "one_step"  # type: ignore[union-attr]
    assert run_config("laptop", "dwm", "iql", "softmax").filter.plugin_name() == "softmax"


def test_another_method_takes_its_own_defaults(demanding: None) -> None:
    run = run_config("laptop", "dwm", "td3_bc")
    assert with_method(run, "laptop", "dwm", "iql") == run_config("laptop", "dwm", "iql")
    assert with_method(run_config("laptop", "dwm", "iql"), "laptop", "none", "td3_bc") == run_config("laptop")
    assert with_method(run, "laptop", "dwm", "td3_bc") == run


def test_another_method_keeps_what_the_user_chose(demanding: None) -> None:
    changed = run_config("laptop", "dwm", "td3_bc", "softmax").with_values(
        {
            "replay.real_ratio": 0.75,
            "world_model.solver_steps": 2,
            "agent.alpha": 1.0,
            "task": "hopper-medium",
            "seed": 3,
        }
    )
    other = with_method(changed, "laptop", "dwm", "iql")
    assert other.replay.real_ratio == 0.75
    assert other.world_model.solver_steps == 2  # type: ignore[union-attr]
    assert other.filter.plugin_name() == "softmax"
    assert (other.task, other.seed) == ("hopper-medium", 3)
    again = with_method(changed, "laptop", "one_step", "td3_bc")
    assert isinstance(again.agent, TD3BCConfig)
    assert again.agent.alpha == 1.0
    assert again.replay.real_ratio == 0.75


def test_an_option_set_to_the_methods_own_value_is_not_a_choice(demanding: None) -> None:
    """Without its flag, a value cannot be distinguished from a default, so it follows the method."""
    assert with_method(run_config("laptop", "dwm", "iql"), "laptop", "dwm", "td3_bc").replay.real_ratio == 0.5


def test_a_flag_that_was_given_stays_even_at_its_default(demanding: None) -> None:
    run = run_config("laptop", "dwm", "td3_bc").with_values({"replay.real_ratio": 0.0})
    given = explicit_paths(["--replay.real-ratio=0.0", "--filter", "keep_all"])
    other = with_method(run, "laptop", "dwm", "iql", given)
    assert other.replay.real_ratio == 0.0
    assert other.filter.plugin_name() == "keep_all"
    assert other.world_model.temperature == 0.75  # type: ignore[union-attr]


def test_explicit_paths_are_those_of_the_options() -> None:
    args = ["--data", "x.hdf5", "--updates=5", "--world-model.solver-steps", "2", "--no-baselines"]
    assert explicit_paths(args) == {"data.file", "training.num_updates", "world_model.solver_steps", "no_baselines"}


def test_baselines_of_different_methods_are_one(demanding: None) -> None:
    sweep = SweepConfig(dimensions=(), agents=("iql",), world_models=("dwm", "one_step"))
    trials = make_plan(sweep, run_config("laptop", "dwm", "iql"), "laptop").trials
    names = sorted(profiles.name_of(trial.config.world_model) for trial in trials)
    assert names == ["dwm", "none", "one_step", "recorded"]


def test_an_agent_that_plans_needs_a_world_model() -> None:
    planning = next(name for name, cls in registry.plugins("agents").items() if cls.plans)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="plans with a model"):
        run_config("laptop", "none", planning)
    sweep = SweepConfig(dimensions=(), agents=(planning,))
    assert len(make_plan(sweep, run_config("laptop", "dwm", planning), "laptop").trials) == 1


def test_sparse_antmaze_has_the_papers_settings_of_iql_only() -> None:
    for task, shift, expectile in (("antmaze-umaze", -1.0, 0.9), ("antmaze-umaze-dense", 0.0, 0.7)):
        run = run_config("laptop", "dwm", "iql", task=task)
        assert isinstance(run.agent, IQLConfig)
        assert (run.task, run.agent.reward_shift, run.agent.expectile) == (task, shift, expectile)
    assert run_config("laptop", "dwm", "td3_bc", task="antmaze-umaze").agent == run_config("laptop").agent


def test_another_task_takes_its_own_defaults_and_keeps_what_the_user_chose() -> None:
    run = run_config("laptop", "none", "iql").with_values({"agent.beta": 5.0})
    moved = with_method(run, "laptop", "none", "iql", task="antmaze-umaze")
    assert moved == run_config("laptop", "none", "iql", task="antmaze-umaze").with_values({"agent.beta": 5.0})
    assert with_method(moved, "laptop", "none", "iql", task=run.task) == run
    given = with_method(run, "laptop", "none", "iql", ["agent.expectile", "task"], "antmaze-umaze")
    assert (given.task, given.agent.expectile) == ("antmaze-umaze", 0.7)  # type: ignore[attr-defined]


def test_published_settings_are_those_of_the_agents_papers() -> None:
    for agent, batch in (("td3_bc", 256), ("iql", 256), ("cql", 256), ("rebrac", 1024)):
        run = run_config("published", "none", agent)
        assert (run.training.num_updates, run.training.batch_size) == (1_000_000, batch)
        assert run.agent == run_config("paper", "none", agent).agent


def test_targets_relative_to_the_data_are_for_recorded_start_pairs() -> None:
    assert run_config("laptop", "dwm").synthesis.target_rtg == "own"
    assert run_config("paper", "dwm").synthesis.target_rtg == 0.5
    plans = run_config("laptop", "dwm", "decision_diffuser")
    assert plans.synthesis.target_rtg == 0.5
    with pytest.raises(ValueError, match=r"synthesis.target_rtg: q0.9 is relative to the data.*expected a number"):
        plans.with_values({"synthesis.target_rtg": "q0.9"})

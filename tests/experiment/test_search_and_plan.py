"""From a sweep's options to its trials."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.experiment.dimension import Dimension, Value
from dwm_ray.experiment.plan import SweepConfig, bases_of, make_plan, start_order
from dwm_ray.experiment.search_space import Plan, Trial, describe, find_dimension, grid, random_points
from dwm_ray.world_models.base import trained_options

HORIZON = Dimension("horizon", "synthesis.horizon", (1, 3, 9), (1, 3))
SEED = Dimension("seed", "seed", (0, 1), (0, 1))
AXES: dict[str, tuple[Value, ...]] = {"x": (1, 2, 3), "y": ("a", "b")}


DDPM = {"world_model.process": "ddpm"}


def dwm_run(**options: Any) -> RunConfig:
    return profiles.run_config("laptop", "dwm").with_values(options)


def plan_of(run: RunConfig | None = None, **options: Any) -> Plan:
    return make_plan(SweepConfig(**options), run or dwm_run(), "laptop")


def values(plan: Plan) -> list[dict[str, Value]]:
    """Return the points of the trials with a trained world model."""
    return [trial.values for trial in plan.trials if trained_options(trial.config) is not None]


def test_grid_is_every_combination_in_the_order_of_the_axes() -> None:
    points = grid(AXES.items())
    assert points[:3] == [{"x": 1, "y": "a"}, {"x": 1, "y": "b"}, {"x": 2, "y": "a"}]
    assert len(points) == len({tuple(point.items()) for point in points}) == 6
    assert grid([]) == [{}]


@given(num=st.integers(1, 10), seed=st.integers(0, 5))
def test_random_points_do_not_repeat_and_end_with_the_space(num: int, seed: int) -> None:
    points = random_points(AXES, num, seed)
    assert len(points) == len({tuple(point.items()) for point in points}) == min(num, 6)
    assert all(point in grid(AXES.items()) for point in points)
    assert points == random_points(AXES, num, seed)


def test_random_points_differ_by_seed() -> None:
    many: dict[str, tuple[Value, ...]] = {"x": tuple(range(50))}
    assert random_points(many, 10, 0) != random_points(many, 10, 1)


def test_a_grid_runs_every_point_with_every_agent_and_each_agent_alone() -> None:
    plan = plan_of(dimensions=("horizon", "target_rtg"))
    per_agent = [{"horizon": h, "target_rtg": g, "seed": 0} for h in (5, 10) for g in ("own", "x1.1")]
    assert len(plan.trials) == 2 * (4 + 2 + 1)
    for agent in ("td3_bc", "iql"):
        mine = [trial for trial in plan.trials if trial.config.agent.plugin_name() == agent]
        for model, points in (("dwm", per_agent), ("recorded", [{"horizon": h, "seed": 0} for h in (5, 10)])):
            result = [t.values for t in mine if profiles.name_of(t.config.world_model) == model]
            assert sorted(map(describe, result)) == sorted(map(describe, points))
        assert [t.values for t in mine if t.config.world_model is None] == [{"seed": 0}]
    assert all(t.config.synthesis.horizon == t.values["horizon"] for t in plan.trials if t.config.world_model)


def test_trial_ids_depend_on_content() -> None:
    plan, again = plan_of(), plan_of()
    ids = [trial.id for trial in plan.trials]
    assert len(set(ids)) == len(ids)
    assert ids == [trial.id for trial in again.trials]
    assert Trial(dwm_run(), {}).id == Trial(dwm_run(), {"horizon": 5}).id != Trial(dwm_run(seed=1), {}).id


def test_seeds_multiply_trials_and_baselines_can_be_left_out() -> None:
    plan = plan_of(dimensions=("horizon",), agents=("td3_bc",), seeds=3, baselines=False)
    assert sorted((v["seed"], v["horizon"]) for v in values(plan)) == [(s, h) for s in range(3) for h in (5, 10)]
    assert {trial.config.seed for trial in plan.trials} == {0, 1, 2}
    assert all(trial.config.world_model for trial in plan.trials)


def test_seed_as_an_axis_takes_the_place_of_seeds() -> None:
    plan = plan_of(dimensions=("seed",), agents=("td3_bc",), seeds=5, baselines=False)
    assert [v["seed"] for v in values(plan)] == [0, 1, 2]


def test_what_cannot_run_is_dropped_and_counted_with_its_reason() -> None:
    plan = plan_of(
        dwm_run(**{"world_model.sequence_length": 7, "synthesis.horizon": 1}), dimensions=("horizon",), seeds=2
    )
    assert [v["horizon"] for v in values(plan)] == [5] * 4
    [(why, count)] = plan.dropped.items()
    assert count == 4
    assert "synthesis.horizon: 10 is too long for world_model.sequence_length 7" in why


def test_axes_that_depend_on_each_other_are_set_before_they_are_checked() -> None:
    plan = Plan()
    axes = {name: find_dimension(name) for name in ("solver_steps", "diffusion_steps", "horizon", "sequence_length")}
    plan.add(dwm_run(**DDPM), {"solver_steps": 9, "diffusion_steps": 10, "horizon": 12, "sequence_length": 16}, axes)
    assert len(plan.trials) == 1
    plan.add(dwm_run(**DDPM), {"solver_steps": 9, "diffusion_steps": 5}, axes)
    assert [*plan.dropped] == ["solver_steps: got 9; expected at most diffusion_steps 5"]


def test_the_same_trial_is_planned_once() -> None:
    plan = Plan()
    for horizon in (3, 3, 1):
        plan.add(dwm_run(), {"horizon": horizon}, {"horizon": HORIZON})
    assert [trial.values for trial in plan.trials] == [{"horizon": 3}, {"horizon": 1}]


def test_keep_ratio_replaces_a_filter_that_lacks_it_only() -> None:
    options: dict[str, Any] = {"dimensions": ("keep_ratio",), "agents": ("td3_bc",), "baselines": False}
    assert {trial.config.filter.plugin_name() for trial in plan_of(**options).trials} == {"hardmax"}
    softmax = plan_of(dwm_run(filter="softmax"), **options)
    assert {trial.config.filter.plugin_name() for trial in softmax.trials} == {"softmax"}
    assert [v["keep_ratio"] for v in values(softmax)] == [0.5, 1.0]


def test_filters_and_ratios_together_drop_the_filter_without_a_ratio() -> None:
    plan = plan_of(dimensions=("filter_type", "keep_ratio"), agents=("td3_bc",), baselines=False)
    assert [(v["filter_type"], v["keep_ratio"]) for v in values(plan)] == [("hardmax", 0.5), ("hardmax", 1.0)]
    assert plan.dropped == {"filter.keep_ratio: no such option with the chosen plug-ins": 2}


def test_the_chosen_agent_keeps_its_options() -> None:
    run = dwm_run(**{"agent.penalty_weight": 0.7})
    bases = bases_of(SweepConfig(agents=("iql", "td3_bc")), run, "laptop")
    assert [base.agent.plugin_name() for base in bases] == ["iql", "td3_bc"]
    assert bases[1].agent == run.agent
    assert bases[0].agent == profiles.plugin("agents", "iql", "laptop")


def test_random_sweeps_have_as_many_points_as_asked() -> None:
    plan = plan_of(dimensions=("horizon", "target_rtg"), search="random", num_samples=3, agents=("td3_bc",))
    assert len(values(plan)) == 3
    assert len(plan.trials) == 3 + 1 + len({point["horizon"] for point in values(plan)})


def test_optuna_plans_the_baselines_only() -> None:
    names = [profiles.name_of(t.config.world_model) for t in plan_of(search="optuna").trials]
    assert Counter(names) == {"none": 2, "recorded": 4}


def test_without_a_world_model_there_is_nothing_to_compare_with() -> None:
    free = profiles.run_config("laptop")
    plan = plan_of(free, dimensions=("seed",), agents=("td3_bc",))
    assert len(plan.trials) == 3


def test_trials_that_train_a_world_model_start_first_with_model_free_trials() -> None:
    plan = plan_of(dwm_run(**DDPM), dimensions=("diffusion_steps", "horizon"), agents=("td3_bc", "iql"))
    front = [trial.config.world_model for trial in plan.trials[:4]]
    assert [getattr(model, "diffusion_steps", None) for model in front] == [5, None, 10, None]
    assert len(plan.trials) == 2 * (4 + 2 + 1)
    assert start_order([]) == []


def test_long_trials_start_before_short_ones() -> None:
    plan = plan_of(agents=("bc", "td3_bc", "cql", "iql"))
    free = [agent_of(trial) for trial in plan.trials if trained_options(trial.config) is None]
    rest = [agent_of(trial) for trial in plan.trials[1 + len(free) :]]
    assert agent_of(plan.trials[0]) == "cql"  # trains the world model
    assert free == ["cql"] * 3 + ["iql"] * 3 + ["td3_bc"] * 3 + ["bc"]
    assert rest == sorted(rest, key=["cql", "iql", "td3_bc", "bc"].index)
    longer = Trial(plan.trials[4].config.with_values({"training.num_updates": 10**9}), {})
    assert start_order([plan.trials[1:3], [longer]]) == [[longer], plan.trials[1:3]]


def test_a_population_counts_as_long_as_all_of_its_members() -> None:
    dimensions, agents = ("diffusion_steps", "horizon"), ("td3_bc", "iql")
    trials = plan_of(dwm_run(**DDPM), dimensions=dimensions, agents=agents, baselines=False).trials
    few, many = (party_of(trials, "td3_bc", 5), party_of(trials, "td3_bc", 5) + party_of(trials, "td3_bc", 10))
    assert start_order([few, many]) == [many, few]
    other = party_of(trials, "iql", 10)
    assert start_order([other, few, many]) == [many, other, few]
    assert start_order([other[:1], few]) == [few, other[:1]]


def test_recorded_futures_vary_in_what_they_read_only() -> None:
    dimensions = ("horizon=1,10", "target_rtg", "keep_ratio", "diffusion_steps", "real_ratio=0,0.5")
    plan = plan_of(world_models=("recorded",), dimensions=dimensions, agents=("td3_bc",))
    points = [{"horizon": h, "real_ratio": r, "seed": 0} for h in (1, 10) for r in (0, 0.5)]
    result = [trial.values for trial in plan.trials if trial.config.world_model]
    assert sorted(map(describe, result)) == sorted(map(describe, points))
    assert {trial.config.filter.plugin_name() for trial in plan.trials} == {"keep_all"}
    assert not plan.dropped
    with pytest.raises(ValueError, match="filter: hardmax selects imagined segments, and recorded futures have none"):
        profiles.run_config("laptop", "recorded", filter="hardmax")


def agent_of(trial: Trial) -> str:
    return trial.config.agent.plugin_name()


def party_of(trials: list[Trial], agent: str, diffusion_steps: int) -> list[Trial]:
    return [t for t in trials if agent_of(t) == agent and t.values["diffusion_steps"] == diffusion_steps]


def test_an_axis_takes_other_values_and_any_option_makes_one() -> None:
    plan = plan_of(dimensions=("horizon=1,7", "agent.alpha=1,2.5"), agents=("td3_bc",), baselines=False)
    result = [(v["horizon"], v["agent.alpha"]) for v in values(plan)]
    assert result == [(1, 1), (1, 2.5), (7, 1), (7, 2.5)]
    assert [t.config.agent.model_dump()["alpha"] for t in plan.trials] == [1, 2.5, 1, 2.5]
    args = plan_of(dimensions=("filter=hardmax,softmax",), agents=("td3_bc",), baselines=False)
    assert [trial.config.filter.plugin_name() for trial in args.trials] == ["hardmax", "softmax"]


def test_an_axis_named_by_its_path_is_that_axis() -> None:
    by_path, by_name = (plan_of(dimensions=(name,), agents=("iql",)) for name in ("synthesis.horizon", "horizon"))
    assert [trial.id for trial in by_path.trials] == [trial.id for trial in by_name.trials]
    assert plan_of(dimensions=("seed=5,6",), agents=("td3_bc",), baselines=False).trials[1].config.seed == 6


@pytest.mark.parametrize(
    ("axis", "why"),
    [
        ("horizon=", "expected values, as in horizon=1,2"),
        ("agent.alpha", "expected values, as in agent.alpha=1,2"),
        ("cluster.num_samplers=1,2", "cluster.num_samplers does not change results; expected another option"),
        ("execution.compiled=0,1", "execution.compiled does not change results; expected another option"),
    ],
)
def test_an_axis_without_values_or_effect_is_refused(axis: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"--dimensions {axis}: {why}"):
        plan_of(dimensions=(axis,))


def test_invalid_values_are_dropped_with_their_reason() -> None:
    plan = plan_of(dimensions=("horizon=3,9,far", "agent.alhpa=1"), agents=("td3_bc",), baselines=False)
    assert not plan.trials
    assert any("alhpa" in reason for reason in plan.dropped)

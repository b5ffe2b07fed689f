"""Every study on data of a second: measurements of the chosen models, as numbers for JSON."""

import json
from dataclasses import replace

import pytest

from dwm_ray.report.findings import Findings
from dwm_ray.studies import ablation
from dwm_ray.studies.ablation import VARIANTS, AblationOptions
from dwm_ray.studies.base import StudyContext, studies, subjects
from dwm_ray.studies.cost import CostOptions
from dwm_ray.studies.cost import measure as measure_cost
from dwm_ray.studies.model_error import ModelErrorOptions
from dwm_ray.studies.model_error import measure as measure_error
from dwm_ray.studies.sensitivity import SensitivityOptions
from dwm_ray.studies.sensitivity import measure as measure_sensitivity
from dwm_ray.studies.shift import ShiftOptions, settings_of
from dwm_ray.studies.shift import measure as measure_shift
from dwm_ray.world_models.dwm import DWMConfig

pytestmark = pytest.mark.usefixtures("tiny_models")


def checked(findings: Findings) -> Findings:
    """Return findings that can be written, with as many cells per row as headers."""
    json.dumps(findings.numbers)
    assert all(len(row) == len(table.headers) for table in findings.tables for row in table.rows)
    return findings


def test_studies_are_found_by_their_files() -> None:
    assert {"model_error", "shift", "sensitivity", "cost"} <= set(studies())
    assert all(study.help and "\n" not in study.help for study in studies().values())


def test_model_error_measures_each_driver_and_explains_a_missing_simulator(context: StudyContext) -> None:
    options = ModelErrorOptions(horizon=3, num_windows=64, num_points=40, clone_updates=20)
    findings = checked(measure_error(context, options))
    numbers = {model["model"]: model for model in findings.numbers["models"]}
    driven = {name: [error["driven_by"] for error in model["errors"]] for name, model in numbers.items()}
    assert driven == {
        "DWM": ["first action and return-to-go"],
        "OneStep": ["logged actions", "cloned behaviour"],
    }
    own = numbers["OneStep"]["own_samples_obs_mse"]
    assert own[0] == 0  # one elite and no noise: the first step is deterministic
    assert own[2] > 0  # later ones follow a clone that samples its actions
    assert any("Pendulum-v1" in line for line in findings.summary)
    assert [model["calibration"]["steps"] for model in numbers.values()] == [[1, 2, 3]] * 2
    assert findings.tables[-1].title.startswith("Calibration")


def test_shift_measures_every_setting_and_the_floor(context: StudyContext) -> None:
    options = ShiftOptions(horizon=3, num_points=40, clone_updates=20, target_rtgs=(0.5,), temperatures=(0.5, 1.0))
    findings = checked(measure_shift(context, options))
    shifts = findings.numbers["shifts"]
    assert [(shift["model"], shift.get("target_rtg"), shift.get("temperature")) for shift in shifts] == [
        ("DWM", None, 0.5),
        ("DWM", None, 1.0),
        ("DWM", 0.5, 0.5),
        ("DWM", 0.5, 1.0),
        ("OneStep", None, None),
        ("recorded halves", None, None),
    ]
    assert shifts[0]["state-actions"] == []  # DWM generates no actions
    assert [row["step"] for row in shifts[4]["state-actions"]] == [2, 3]  # the first action is given
    assert abs(shifts[-1]["states"][0]["mmd"]["value"]) < abs(
        shifts[0]["states"][0]["mmd"]["value"]
    )  # a model after 20 updates is far off


def test_shift_varies_only_options_of_the_model(context: StudyContext) -> None:
    dwm, one_step = subjects(context, ShiftOptions())
    options = ShiftOptions(target_rtgs=(0.1,), temperatures=(1.0,))
    assert settings_of(dwm, options) == [(None, 1.0), (0.1, 1.0)]
    assert settings_of(one_step, options) == [(None, None)]


SMALL = {"num_windows": 64, "num_segments": 64, "clone_updates": 10}


def test_sensitivity_varies_one_option_at_a_time_and_counts_invalid_points(context: StudyContext) -> None:
    axes = ("sequence_length=2,3,4", "solver_steps=1,2", "world_model.schedule=cosine")
    findings = checked(measure_sensitivity(context, SensitivityOptions(axes=axes, **SMALL)))
    outcomes = findings.numbers["outcomes"]
    assert [outcome["point"] for outcome in outcomes] == [
        {"sequence_length": 3},
        {"sequence_length": 4},
        {"solver_steps": 1},
        {"solver_steps": 2},
        {"world_model.schedule": "cosine"},
    ]
    assert [len(outcome["error"]["obs_mse"]) for outcome in outcomes] == [2, 3, 3, 3, 3]
    assert any("synthesis.horizon: 2 is too long" in line for line in findings.summary)


def test_sensitivity_filters_as_in_the_run(context: StudyContext) -> None:
    context = replace(context, config=context.config.with_values({"filter": "hardmax"}))
    options = SensitivityOptions(axes=("keep_ratio=0.25,1.0",), **SMALL)
    outcomes = measure_sensitivity(context, options).numbers["outcomes"]
    few, all_of_them = (outcome["stream"] for outcome in outcomes)
    assert (few["selected"], all_of_them["selected"]) == (0.25, 1.0)
    assert few["reward"] > all_of_them["reward"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [(("horizn",), "--axes: unknown axis 'horizn'; did you mean horizon"), (("world_model.dim",), "expected values")],
)
def test_an_invalid_axis_is_refused(context: StudyContext, axes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_sensitivity(context, SensitivityOptions(axes=axes, **SMALL))


def test_cost_multiplies_bursts_by_the_run_s_counts(context: StudyContext) -> None:
    options = CostOptions(burst_updates=2, burst_segments=64, repeats=1, trials=(1, 4))
    costs = {cost["method"]: cost for cost in checked(measure_cost(context, options)).numbers["costs"]}
    assert list(costs) == ["TD3+BC", "DWM-TD3+BC", "OneStep-TD3+BC"]
    parts = {name: [part["name"] for part in [*cost["shared"], *cost["own"]]] for name, cost in costs.items()}
    assert parts["TD3+BC"] == ["learn"]
    assert parts["DWM-TD3+BC"] == ["train the world model", "generate segments", "learn"]
    assert parts["OneStep-TD3+BC"] == ["train the world model", "learn"]  # rolled out within every update
    train, generate = costs["DWM-TD3+BC"]["shared"]
    assert (train["count"], generate["count"], costs["DWM-TD3+BC"]["own"][0]["count"]) == (20, 600, 30)
    assert train["seconds"] == pytest.approx(20 * train["seconds_each"])
    assert train["flops"] > 0
    assert costs["OneStep-TD3+BC"]["own"][0]["flops"] > costs["TD3+BC"]["own"][0]["flops"]


def test_each_variant_has_a_row_and_sampling_variants_share_the_first_ones_weights(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: VARIANTS[name] for name in ("default", "absolute states", "flow matching")}
    monkeypatch.setattr(ablation, "VARIANTS", few)
    monkeypatch.setattr(ablation, "AVERAGING", {"temperature": 0.5})
    monkeypatch.setattr(ablation, "SAMPLING", {"guidance 3": {"guidance_scale": 3.0}, "t": {"temperature": 1.0}})
    findings = checked(ablation.measure(context, AblationOptions(seconds=0.05)))
    rows = json.loads(json.dumps(findings.numbers))["rows"]
    assert [row["name"] for row in rows] == ["default", *ablation.SAMPLING, "absolute states", "flow matching"]
    assert len({row["updates"] for row in rows[: 1 + len(ablation.SAMPLING)]}) == 1
    assert len({tuple(row["obs_mse"]) for row in rows}) > 3


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_valid(name: str) -> None:
    default = DWMConfig.for_profile("laptop")
    changed = DWMConfig.model_validate({**default.model_dump(), **VARIANTS[name]})
    assert (changed == default) is (name == "default")

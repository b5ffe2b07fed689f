"""The ablation trains each variant for the same time and measures it as a run would."""

from __future__ import annotations

import json

import pytest

from dwm_ray.studies import ablation
from dwm_ray.studies.ablation import VARIANTS, AblationOptions, measure
from dwm_ray.studies.base import StudyContext
from dwm_ray.world_models.dwm import DWMConfig

pytestmark = pytest.mark.usefixtures("tiny_models")


def test_each_variant_has_a_row_and_sampling_variants_share_the_first_ones_weights(
    context: StudyContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: VARIANTS[name] for name in ("preset", "absolute states", "flow matching")}
    monkeypatch.setattr(ablation, "VARIANTS", few)
    monkeypatch.setattr(ablation, "AVERAGING", {"temperature": 0.5})
    monkeypatch.setattr(ablation, "SAMPLING", {"guidance 3": {"guidance_scale": 3.0}, "t": {"temperature": 1.0}})
    findings = measure(context, AblationOptions(seconds=0.05))
    rows = json.loads(json.dumps(findings.numbers))["rows"]
    assert [row["name"] for row in rows] == ["preset", *ablation.SAMPLING, "absolute states", "flow matching"]
    assert len({row["updates"] for row in rows[: 1 + len(ablation.SAMPLING)]}) == 1
    assert len({tuple(row["obs_mse"]) for row in rows}) > 3
    assert all(len(row) == len(table.headers) for table in findings.tables for row in table.rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_valid(name: str) -> None:
    preset = DWMConfig.preset("small")
    changed = DWMConfig.model_validate({**preset.model_dump(), **VARIANTS[name]})
    assert (changed == preset) is (name == "preset")

import json
from pathlib import Path

import pytest
import torch
from toy import SPACES, toy_episodes

from dwm_ray.training.model_store import load_model, save_model
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.one_step import OneStep, OneStepConfig


def models() -> list[WorldModel]:
    return [
        DWM(DWMConfig(dim=8, multipliers=(1, 2), sequence_length=4, temperature=0.7), SPACES),
        OneStep(OneStepConfig(width=8, num_layers=1, num_elites=2), SPACES),
    ]


@pytest.mark.parametrize("model", models(), ids=["dwm", "one_step"])
def test_a_loaded_model_imagines_the_same(model: WorldModel, tmp_path: Path) -> None:
    model.fit_normalizers(toy_episodes())
    save_model(tmp_path, model, {"update": 3})
    loaded = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    assert loaded.spaces == model.spaces
    obs, act = torch.randn(5, 3), torch.zeros(5, 1)
    ours, theirs = (
        m.imagine(
            obs, act, policy=lambda o, i: o[:, :1], horizon=3, rtg=0.2, generator=torch.Generator().manual_seed(0)
        )
        for m in (model, loaded)
    )
    assert torch.equal(ours.obs, theirs.obs)
    assert torch.equal(ours.rew, theirs.rew)
    assert json.loads((tmp_path / "model.json").read_text())["meta"] == {"update": 3}


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no readable checkpoint 'model'"):
        load_model(tmp_path)
    save_model(tmp_path, models()[0], {})
    description = json.loads((tmp_path / "model.json").read_text())
    description["config"]["dim"] = 16
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="does not fit this version"):
        load_model(tmp_path)

import json
from pathlib import Path

import pytest
from toy import SPACES

from dwm_ray.training.model_store import load_model, save_model
from dwm_ray.world_models.dwm import DWM, DWMConfig


def test_unreadable_and_unfitting_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no readable checkpoint 'model'"):
        load_model(tmp_path)
    save_model(tmp_path, DWM(DWMConfig(dim=8, multipliers=(1, 2), sequence_length=4), SPACES), {"update": 3})
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["meta"] == {"update": 3}
    description["config"]["dim"] = 16
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="does not fit this version"):
        load_model(tmp_path)

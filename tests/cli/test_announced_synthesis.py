"""The range of the return-to-go labels is printed for models that use them, with the targets outside of it."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from tiny_task import DWM, ONE_STEP, recording, tiny_config

from dwm_ray.cli.session import announce_synthesis
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data


def printed(*configs: RunConfig) -> str:
    text = io.StringIO()
    announce_synthesis(Console(file=text, width=200), load_task_data(configs[0]), configs)
    return text.getvalue()


def test_labels_and_targets_outside_of_them(tmp_path: Path) -> None:
    base = tiny_config(recording(tmp_path / "pendulum.hdf5"), DWM)  # rewards are negative
    targets = [base.with_values({"synthesis.target_rtg": target}) for target in ("own", "q0.5", -0.1)]
    assert printed(*targets).count("return-to-go labels -") == 1
    assert "outside" not in printed(*targets)
    assert "synthesis.target_rtg 0.5: outside of these labels" in printed(*targets, base)
    assert printed(base.with_values({"world_model": ONE_STEP}), base.with_values({"world_model": None})) == ""


def test_a_stream_that_is_shorter_than_the_data_is_announced(tmp_path: Path) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    assert "50 % of the 1200 recorded pairs" in printed(tiny_config(file, **{"synthesis.num_segments": 600}))
    assert "recorded pairs" not in printed(tiny_config(file, **{"synthesis.num_segments": 1200}))

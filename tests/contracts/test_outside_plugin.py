"""A world model outside the package is offered, trained, swept and reported like the others, without an edit."""

from pathlib import Path

import pytest
import torch
from outside import all_plugins
from programs import load_program
from tiny_models import SPACES
from tiny_task import recording

from dwm_ray.registry import find
from dwm_ray.runs.folder import read_json
from dwm_ray.training.stores import load_model
from dwm_ray.types import Windows

NAME = "flow_matching"
TINY = ["--world-model.num-updates", "20", "--world-model.batch-size", "32", "--world-model.dim", "8"]
SHORT = ["--world-model.sequence-length", "4", "--synthesis.num-segments", "600", "--replay.min-synthetic", "200"]


def test_it_comes_from_outside_of_the_package() -> None:
    others = [cls for name, cls in all_plugins("world_models").items() if name != NAME]
    assert find("world_models", NAME).__module__ == NAME
    assert len(others) >= 7
    assert all(cls.__module__.startswith("dwm_ray.world_models.") for cls in others)


def test_help_offers_it_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load_program("pipelines/train.py").main(["--world-model", NAME, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f",{NAME}," in text
    assert "N: network calls per segment." in text


def test_it_is_swept_and_reported(tmp_path: Path) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    args = ["--data", str(file), "--task", "pendulum", "--profile", "laptop", "--output", str(tmp_path / "runs")]
    args += ["--updates", "10", "--evaluation.num-episodes", "1", "--world-model", NAME, *TINY, *SHORT]
    sweep = ["--agents", "td3_bc", "--dimensions", "world_model.solver_steps=1,2", "--seeds", "1", "--in-process"]
    assert load_program("pipelines/sweep.py").main([*args, "--synthesis.horizon", "2", *sweep]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    trials = [read_json(path) for path in folder.glob("trials/*/config.json")]
    models = [trial["world_model"] for trial in trials if trial["world_model"]]
    assert sorted(model["solver_steps"] for model in models if model["name"] == NAME) == [1, 2]
    assert {read_json(path)["status"] for path in folder.glob("trials/*/status.json")} == {"done"}
    (model,) = folder.glob("world_models/*")  # both trials share its weights
    assert type(load_model(model)) is find("world_models", NAME)
    assert "Flow" in (folder / "report.html").read_text()


def steps(num: int, generator: torch.Generator) -> Windows:
    """Windows of two states in which s' = (s + a) / 2 in every entry, and the reward is the sum of the actions."""
    obs, act = (torch.rand(num, size, generator=generator) * 2 - 1 for size in (3, 2))
    recorded = torch.ones(num, 2).bool()
    pair = torch.stack([obs, (obs + act[:, :1]) / 2], 1)
    rew = act.sum(1, keepdim=True).expand(-1, 2)
    return Windows(pair, act[:, None].expand(-1, 2, -1), rew, recorded, recorded, ~recorded, torch.zeros(num))


def test_it_learns_the_dynamics() -> None:
    generator = torch.Generator().manual_seed(0)
    plugin = find("world_models", NAME)
    model = plugin(plugin.Config(sequence_length=2, dim=32, multipliers=(4, 4)), SPACES)
    known = steps(2000, generator)
    for normalizer, values in zip(
        (model.obs_normalizer, model.act_normalizer, model.rew_normalizer),
        (known.obs.flatten(0, 1), known.act[:, 0], known.rew[:, :1]),
        strict=True,
    ):
        normalizer.fit(values.numpy())
    adam = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(400):
        adam.zero_grad()
        model.loss(steps(128, generator), generator)[0].backward()
        adam.step()
    test = steps(500, generator)
    obs, act = test.obs[:, 0], test.act[:, 0]
    segments = model.imagine(obs, act, policy=None, horizon=1, rtg=0.0, generator=generator)
    error, unmoved = ((result - test.obs[:, 1]).square().mean() for result in (segments.obs[:, 1], obs))
    assert error < 0.05 * unmoved
    assert (segments.rew[:, 0] - test.rew[:, 0]).square().mean() < 0.05 * test.rew.var()

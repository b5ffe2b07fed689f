"""Files of an exported policy: they act like the trained one without dwm_ray, and their card describes them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import ROOT, load_program
from tiny_task import recording, tiny_config

import dwm_ray
from dwm_ray.export import graph, policy
from dwm_ray.runs.folder import RunFolder

main = load_program("pipelines/export.py").main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with one trial."""
    folder = tmp_path_factory.mktemp("export")
    trial = dwm_ray.train(tiny_config(recording(folder / "pendulum.hdf5"), None), folder / "runs")
    return RunFolder.open(trial.folder.parents[1])


def test_the_files_act_like_the_policy_and_the_card_describes_them(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.root), "--out", str(tmp_path)]) == 0
    card = json.loads((tmp_path / "policy.json").read_text())
    (trial,) = run.trials()
    obs = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    expected = dwm_ray.load_policy(trial)(obs)
    np.testing.assert_allclose(graph.onnx_actions(tmp_path / card["files"]["onnx"], obs), expected, atol=1e-5)
    module = torch.export.load(tmp_path / card["files"]["torch_export"]).module()
    np.testing.assert_allclose(module(torch.from_numpy(obs)).numpy(), expected, atol=1e-5)
    assert (card["input"]["shape"], card["output"]["low"]) == (["batch", 3], [-2.0])
    assert (card["env_id"], card["seed"], card["updates"], card["trial"]) == ("Pendulum-v1", 0, 30, trial.name)
    assert card["score"]["mean"] == json.loads((trial / "evaluations.jsonl").read_text().splitlines()[-1])["score_mean"]
    assert "(raw return, 2 episodes" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"policy.onnx", "policy.pt2", "policy.json"}

    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)[:1]
    monkeypatch.setattr(sys, "argv", ["act.py", str(tmp_path), "1"])
    exec(compile(program, "docs/export.md", "exec"), {})
    assert re.search(r"mean return -\d+\n$", capsys.readouterr().out)


def test_a_full_disk_is_an_error(run: RunFolder) -> None:
    traced = graph.traced(graph.PolicyGraph(dwm_ray.load_policy(run.trials()[0]).agent), 3)
    with pytest.raises(OSError, match="No space left on device"):
        graph.write_torch(traced, Path("/dev/full"))


@pytest.mark.parametrize("error", [1e-4, np.nan])
def test_nothing_is_written_if_actions_differ(
    error: float, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = dwm_ray.load_policy(run.trials()[0])
    monkeypatch.setattr(policy, "write_onnx", lambda traced, path: 20)
    monkeypatch.setattr(graph, "onnx_actions", lambda path, obs: honest(obs) + np.float32(error))
    assert main([str(run.trials()[0]), "--out", str(tmp_path / "new")]) == 2
    assert "actions of onnxruntime differ from torch by" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_missing_package_and_an_unknown_trial_are_one_line(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.root), "--trial", "nobody"]) == 2
    assert f"--trial nobody: has no saved policy; expected {run.trials()[0].name}" in capsys.readouterr().err
    monkeypatch.setattr(policy, "PACKAGES", ("missing_package",))
    assert main([str(run.root), "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == (
        "error: export: the package missing-package is not installed; expected `pip install 'dwm-ray[export]'`\n"
    )
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    (tmp_path / "file").touch()
    assert main([str(run.root), "--out", str(tmp_path / "file")]) == 2
    assert "file: File exists; expected a folder that can be written" in capsys.readouterr().err

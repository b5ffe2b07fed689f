"""`pipelines/compare.py` as a user runs it."""

from pathlib import Path

import pytest
import ray
from programs import load_program
from test_sweep_pipeline import SWEEP, finish, read, start
from tiny_task import NUM_SEGMENTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]  # the machine may be busy

NUM_UPDATES = 100
OPTIONS = f"""
    --profile laptop --task pendulum --methods TD3+BC dwm-td3bc@horizon=2 --seeds 2 --updates {NUM_UPDATES}
    --world-model.denoiser mlp --world-model.dim 8 --world-model.multipliers 2 --world-model.num-updates 40
    --world-model.batch-size 32 --synthesis.num-segments {NUM_SEGMENTS} --synthesis.block-rows 128
    --replay.min-synthetic 200 --training.log-every 50 --evaluation.every 50 --evaluation.num-episodes 2
    --evaluation.curve-episodes 1 --cluster.learner-cpus 0.3
"""


def test_two_methods_are_compared_and_their_folder_is_a_run(
    file: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*OPTIONS.split(), "--data", file, "--output", tmp_path]
    run = finish(start(tmp_path, *options, address=cluster, program=SWEEP.with_name("compare.py")))
    [task] = read(run / "comparison.json")["tasks"]
    free, dwm = task["methods"]
    assert (free["name"], dwm["name"]) == ("TD3+BC", "DWM-TD3+BC (horizon=2)")
    for method in (free, dwm):
        assert [run["seed"] for run in method["runs"]] == [0, 1]
        assert all(len(run["returns"]) == 2 and run["updates"] == NUM_UPDATES for run in method["runs"])
        assert method["mean"]["low"] <= method["mean"]["value"] <= method["mean"]["high"]
        assert method["costs"]["updates_per_s"] > 0
    assert dwm["costs"]["world_model_s"] > 0 < dwm["costs"]["sampling_s"]
    assert free["costs"]["world_model_s"] is None
    counters = read(run / "counters.json")
    assert (counters["world_models_trained"], counters["streams_generated"]) == (1, 1)
    assert "<figure" in (run / "comparison.html").read_text()
    assert len(read(run / "results.json")["trials"]) == 4

    assert load_program("pipelines/evaluate.py").main([str(run), "--num-episodes", "1"]) == 0
    assert capsys.readouterr().out.count("1 episodes from seed") == 4
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("nothing is left to run"))
    assert load_program("pipelines/compare.py").main(["--resume", str(run), "--markdown"]) == 0
    again = capsys.readouterr().out
    assert "0 to run" in again
    assert "| DWM-TD3+BC (horizon=2) | 2 |" in again

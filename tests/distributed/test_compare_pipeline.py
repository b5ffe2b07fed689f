"""`pipelines/compare.py` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_task import NUM_SEGMENTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]  # the machine may be busy

PIPELINES = Path(__file__).parents[2] / "pipelines"
NUM_UPDATES = 100
OPTIONS = f"""
    --profile laptop --task pendulum --methods TD3+BC dwm-td3bc@horizon=2 --seeds 2 --updates {NUM_UPDATES}
    --world-model.denoiser mlp --world-model.dim 8 --world-model.multipliers 2 --world-model.num-updates 40
    --world-model.batch-size 32 --synthesis.num-segments {NUM_SEGMENTS} --synthesis.block-rows 128
    --replay.min-synthetic 200 --training.log-every 50 --evaluation.every 50 --evaluation.num-episodes 2
    --evaluation.curve-episodes 1 --cluster.learner-cpus 0.3
"""


def call(program: str, *args: object, **env: str) -> str:
    command = [sys.executable, str(PIPELINES / program), *map(str, args)]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_two_methods_are_compared_and_their_folder_is_a_run(file: Path, cluster: str, tmp_path: Path) -> None:
    out = call("compare.py", *OPTIONS.split(), "--data", file, "--output", tmp_path, RAY_ADDRESS=cluster)
    run = Path(out.strip().splitlines()[-1])
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
    assert "<figure>" in (run / "comparison.html").read_text()

    assert len(read(run / "results.json")["trials"]) == 4
    assert call("evaluate.py", run, "--num-episodes", 1).count("1 episodes from seed") == 4
    again = call("compare.py", "--resume", run, "--markdown")  # nothing is left to run: no cluster is started
    assert "0 to run" in again
    assert "| DWM-TD3+BC (horizon=2) | 2 |" in again

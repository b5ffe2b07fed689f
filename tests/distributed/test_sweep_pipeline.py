"""`pipelines/sweep.py` as a user runs it: its results, and what a second session does not repeat.

`test_faults.py` kills a sweep and resumes it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_task import NUM_SEGMENTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]  # the machine may be busy

SWEEP = Path(__file__).parents[2] / "pipelines" / "sweep.py"
NUM_UPDATES = 300
OPTIONS = f"""
    --profile laptop --world-model dwm --dimensions horizon --seeds 1
    --world-model.denoiser mlp --world-model.dim 8 --world-model.multipliers 2 --world-model.num-updates 60
    --world-model.batch-size 32
    --synthesis.num-segments {NUM_SEGMENTS} --synthesis.block-rows 128 --replay.min-synthetic 200
    --training.num-updates {NUM_UPDATES} --training.log-every 100 --training.checkpoint-every 100
    --evaluation.every 1000 --evaluation.num-episodes 1 --evaluation.curve-episodes 1
"""


def start(folder: Path, *args: object, address: str | None = None, program: Path = SWEEP) -> subprocess.Popen[str]:
    """A sweep (or another program) in a process of its own, on a cluster of its own or on the one at `address`."""
    env = {**os.environ, **({"RAY_ADDRESS": address} if address else {})}
    command = [sys.executable, str(program), *map(str, args)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=env, **pipes)


def finish(process: subprocess.Popen[str]) -> Path:
    """Wait for the end; the run folder, which is the last line of what it printed."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out[-3000:] + err[-3000:]
    return Path(out.strip().splitlines()[-1])


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def states(run: Path) -> dict[str, str]:
    return {path.parent.name: read(path)["status"] for path in run.glob("trials/*/status.json")}


def stamps(*folders: Path) -> dict[str, int]:
    """When each file below these folders was last written."""
    return {str(p): p.stat().st_mtime_ns for folder in folders for p in folder.rglob("*") if p.is_file()}


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not true():
        assert process.poll() is None, f"the sweep ended early: {process.communicate()}"
        assert time.monotonic() < deadline, "the sweep does not get on"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a sweep of two horizons with two agents, on a cluster that it started itself."""
    folder = tmp_path_factory.mktemp("sweep")
    more = ["--agents", "td3_bc", "iql", "--no-baselines", "--cluster.learner-cpus", 0.3]
    data = ["--task", "pendulum", "--data", file, "--output", folder / "runs"]
    return finish(start(folder, *OPTIONS.split(), *data, *more))


def test_a_sweep_shares_one_world_model_and_one_stream(finished: Path) -> None:
    results = read(finished / "results.json")
    assert results["counters"] == {
        "world_models_trained": 1,
        "streams_generated": 1,
        "segments_sampled": NUM_SEGMENTS,
        "segments_dropped": 0,
        "segments_restored": 0,
        "segments_consumed": 4 * NUM_SEGMENTS,
        "oom_splits": 0,
    }
    assert len(list((finished / "world_models").iterdir())) == len(list((finished / "streams").iterdir())) == 1


def test_a_sweep_leaves_results_of_every_trial_and_a_report(finished: Path) -> None:
    results = read(finished / "results.json")
    assert {"task", "data", "score_unit", "profile", "wall_s", "dropped", "best", "environment"} <= results.keys()
    assert (results["task"], results["profile"], results["dropped"]) == ("pendulum", "laptop", {})
    settings = [(t["agent"], t["values"]["horizon"], t["seed"]) for t in results["trials"]]
    assert sorted(settings) == [("iql", 5, 0), ("iql", 10, 0), ("td3_bc", 5, 0), ("td3_bc", 10, 0)]
    for trial in results["trials"]:
        assert (trial["status"], trial["error"], trial["updates"]) == ("done", None, NUM_UPDATES)
        assert trial["learning"]["update"] == [100, 200, 300]
        assert -2000 < trial["score_mean"] < 0
        assert (finished / "trials" / trial["id"] / "checkpoint" / "agent.safetensors").is_file()
    assert results["best"]["score_mean"] == max(trial["score_mean"] for trial in results["trials"])
    assert "<html" in (finished / "report.html").read_text()[:500].lower()


def test_resuming_a_finished_sweep_does_nothing_again(finished: Path, cluster: str, tmp_path: Path) -> None:
    parts = [finished / name for name in ("world_models", "streams", "trials")]
    before, results = stamps(*parts), read(finished / "results.json")
    assert finish(start(tmp_path, "--resume", finished, address=cluster)) == finished
    assert stamps(*parts) == before
    again = read(finished / "results.json")
    assert again["trials"] == results["trials"]
    assert again["counters"] == results["counters"]

"""Programs with a cluster of their own that are stopped by a signal: exit code, one line, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TRAIN = Path(__file__).parents[2] / "pipelines" / "train.py"


AFTERWARDS = """
from dwm_ray.cli import stopping
stopping.catch_signals()
from dwm_ray.cli.command_line import main_guard
from dwm_ray.distributed.cluster.connection import connect, removed_at_end
import time

@main_guard
def main():
    with removed_at_end():
        connect()
    print("report", flush=True)
    time.sleep(60)

raise SystemExit(main())
"""


def test_a_program_that_has_left_its_cluster_still_catches_sigterm() -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", AFTERWARDS], **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "report\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "stopped by SIGTERM; start again with the same command\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_on_ray_is_stopped(number: signal.Signals, code: int, file: Path, tmp_path: Path) -> None:
    data = ["--task", "pendulum", "--data", str(file), "--output", str(tmp_path / "runs")]
    args = [sys.executable, str(TRAIN), *data, "--world-model", "none", "--profile", "laptop"]
    temporary = tmp_path / "t"
    env = {**os.environ, "RAY_ADDRESS": "local", "RAY_TMPDIR": "/tmp/" + "x" * 60, "TMPDIR": str(temporary)}
    temporary.mkdir()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(args, env=env, **pipes) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("cluster:"):
            assert line, process.communicate()
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 3
        process.send_signal(number)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    [run] = (tmp_path / "runs").iterdir()
    lines = err.strip().splitlines()
    assert lines[-1] == f"stopped by {number.name}; resume with: python pipelines/train.py --resume {run}"
    assert "is too long for the sockets of Ray" in lines[0]
    assert len(lines) == 2, err
    assert not Path(lines[0].rpartition(" ")[2]).exists(), "the folder of Ray's files"
    psutil.wait_procs(started, timeout=20)
    assert [each for each in started if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []

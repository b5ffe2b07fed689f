"""All GPU measurements and GPU tests in one command, within a time budget and without Ray.

Every part runs in a separate process, so that an error of the device in one part does not affect the others. A part
is a suite of `pipelines/benchmark.py` or the tests of the repository that are skipped without a GPU."""

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar

import tyro
from rich.console import Console

from dwm_ray.benchmarks.options import Device, TaskSuite, expect_device
from dwm_ray.benchmarks.tables import machine, number, show
from dwm_ray.errors import last_line
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.types import Json

HEADERS = ("part", "workload", "rate", "baseline", "ratio", "result")
GRACE_S = 30.0
"""Seconds by which a part may exceed its limit, because its process has to start and its last workload to finish."""
MIN_S = 5.0
"""A part does not start with less time than this."""
GPU_TEST = "torch.cuda.is_available()"
"""Text of the test files that need a GPU."""


@dataclass(frozen=True)
class Part:
    """One suite with its options, and its fraction of the time budget."""

    name: str
    args: str
    seconds: float


BATCHES = "--batch-sizes 128 1024 4096 --graphed"
TESTS = "tests"
FULL = (
    Part(TESTS, "", 75),
    Part("sampler, paper's U-Net", f"sampler --sizes unet {BATCHES}", 85),
    Part("sampler, small U-Net", f"sampler --sizes unet_small {BATCHES}", 75),
    Part("sampler, MLP", f"sampler --sizes mlp {BATCHES}", 30),
    Part("learner", "learner --agents td3_bc iql --populations 1 8 32 --graphed", 75),
    Part("world-model training", "world_model --sizes unet unet_small mlp", 40),
    Part("replay", "replay --batch-sizes 256 1024 4096", 20),
    Part("compiled learner", "learner --agents td3_bc iql --populations 1 8 32 --compiled --only compiled", 80),
)
"""Parts in order of importance; the seconds add up to the default budget."""
TINY = "--sizes unet_small"
QUICK = (
    Part(TESTS, "", 30),
    Part("sampler", f"sampler {TINY} --batch-sizes 2 --graphed", 30),
    Part("learner", "learner --agents td3_bc --populations 2 --batch-size 16 --graphed --only population", 30),
    Part("world-model training", f"world_model {TINY} --batch-size 4 --only unet", 30),
    Part("replay", "replay --batch-sizes 16 --real-ratios 0.5", 30),
)
TIMING = {False: "--repeats 5 --burst-s 0.15", True: "--repeats 1 --burst-s 0.01"}


@dataclass(frozen=True)
class GpuSuite(TaskSuite):
    """All GPU measurements and GPU tests within a time budget, without Ray: one JSON file and one table. The exit code
    is 1 if a part failed."""

    name: ClassVar[str] = "gpu"

    budget_s: float = 480.0
    """Seconds for all parts; parts that do not fit are skipped."""
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run every kind of part at its smallest size, to check the command itself; with --device cpu in a minute."""
    tests: bool = True
    """Run the tests that need a GPU."""
    device: Device = "cuda"
    """Device to measure on; cpu only with --quick."""

    def run(self, programs: Path) -> None:
        """Run all parts. Raise ValueError without a GPU, and RunFailed at the end if a part failed."""
        device = self.device
        expect_device(device)
        if device == "cpu" and not self.quick:
            raise ValueError("--device cpu: the suite gpu measures a GPU; expected cuda, or --quick")
        path, results, deadline = self.path, list[Json](), time.monotonic() + self.budget_s
        console, common = Console(stderr=True), ("--device", device, *self.data_args(), *TIMING[self.quick].split())
        for part in self.parts():
            console.print(f"{part.name} ...", highlight=False)
            results.append(run_part(part, common, programs, deadline))
            console.print("  {status}: {seconds:.0f} s {message}".format(**results[-1]), highlight=False)
            write_json(path, {"suite": self.name, "machine": machine(device), "parts": results})
        show(Table("GPU", list(HEADERS), [row for result in results for row in rows(result)]))
        print(path)
        if failed := [result["name"] for result in results if result["status"] == "failed"]:
            raise RunFailed(f"{', '.join(failed)}: see {path}")

    def parts(self) -> list[Part]:
        """Return the parts to run; without CUDA graphs on a CPU."""
        parts = [part for part in (QUICK if self.quick else FULL) if self.tests or part.name != TESTS]
        return [
            replace(part, args=part.args.replace("--graphed", "" if self.device == "cpu" else "--graphed"))
            for part in parts
        ]


def run_part(part: Part, common: tuple[str, ...], programs: Path, deadline: float) -> Json:
    """Run one part in a separate process, within its time limit and the remaining budget.

    Returns its name, command, status (ok, failed or skipped), message and seconds, and the JSON that a suite measured.
    """
    start = time.monotonic()
    remaining, limit = deadline - start, min(part.seconds, deadline - start)
    if remaining < MIN_S:
        outcome: Json = {"command": [], "status": "skipped", "message": "the time budget is used up", "measured": {}}
    elif part.name == TESTS:
        outcome = _run_tests(programs.parent, limit)
    else:
        with TemporaryDirectory() as folder:
            output = Path(folder) / "part.json"
            limited = ("--limit-s", f"{limit:.0f}", "--output", str(output))
            command = [sys.executable, str(programs / "benchmark.py"), *part.args.split(), *common, *limited]
            outcome = _run_suite(command, output, min(limit + GRACE_S, remaining))
    return {"name": part.name, **outcome, "seconds": time.monotonic() - start}


def _run_suite(command: list[str], output: Path, timeout_s: float) -> Json:
    status, message = _run(command, timeout_s)
    measured = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    return {
        "command": command,
        "status": status,
        "message": "" if status == "ok" else message,
        "measured": measured,
    }


def _run_tests(root: Path, timeout_s: float) -> Json:
    files = [str(path) for path in gpu_tests(root / "tests")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    if importlib.util.find_spec("pytest") is None:
        status, message = "skipped", "pytest is not installed"
    elif not files:
        status, message = "skipped", f"{root / 'tests'}: no GPU tests there"
    else:
        status, message = _run(command, timeout_s, cwd=root)
    return {"command": command, "status": status, "message": message, "measured": {}}


def gpu_tests(folder: Path) -> list[Path]:
    """Return the test files that are skipped without a GPU."""
    return sorted(path for path in folder.rglob("test_*.py") if GPU_TEST in path.read_text(encoding="utf-8"))


def _run(command: list[str], timeout_s: float, cwd: Path | None = None) -> tuple[str, str]:
    """Return (status, message): the last line of the output, after the exit code of a failed command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd)
    except subprocess.TimeoutExpired:
        return "failed", f"ended after {timeout_s:.0f} s"
    if done.returncode == 0:
        return "ok", last_line(done.stdout)
    return "failed", f"exit code {done.returncode}: {last_line(done.stderr, last_line(done.stdout))}"


def rows(result: Json) -> list[list[Cell]]:
    """Return the table rows of a part: measured workloads, then skipped and failed ones."""
    name, measured, rows = result["name"], result["measured"], list[list[Cell]]()
    ratios = {ratio["of"]: ratio for ratio in measured.get("ratios", [])}
    for workload, spread in measured.get("medians", {}).items():
        rate, ratio = f"{number(spread['median'])} {measured['unit']}", ratios.get(workload)
        compared = (ratio["to"], f"{ratio['median']:.2f}") if ratio else ("", "")
        rows.append([name, workload, rate, *compared, "ok"])
    for status in ("skipped", "failed"):
        rows += [[name, work, "", "", "", f"{status}: {reason}"] for work, reason in measured.get(status, {}).items()]
    if not rows or result["status"] != "ok":
        rows.append([name, "", "", "", "", ": ".join(filter(None, (result["status"], result["message"])))])
    return rows

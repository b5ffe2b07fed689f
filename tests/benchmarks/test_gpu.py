"""The suite of all GPU measurements: parts, time budget, errors and table; the command itself runs on a CPU here."""

import json
import sys
import time
from pathlib import Path

import pytest

from dwm_ray.benchmarks import gpu
from dwm_ray.benchmarks.gpu import FULL, HEADERS, GpuSuite, Part, gpu_tests, run_part
from dwm_ray.runs.folder import RunFailed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A stand-in for pipelines/benchmark.py: it writes its words, prints and ends with the code that it is given."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "benchmark.py").write_text(
        "import json, sys, time\n"
        "code, words = int(sys.argv[1]), sys.argv[2:]\n"
        "time.sleep(30 if code == 9 else 0)\n"
        "median = {'median': 2.0, 'low': 1.0, 'high': 3.0}\n"
        "found = {'unit': 'u/s', 'medians': {'a': median, 'b': median}, 'ratios': [{'of': 'b', 'to': 'a', **median}]}\n"
        "json.dump({**found, 'skipped': {'c': 'no'}, 'words': words}, open(words[-1], 'w'))\n"
        "print('broken', file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    return tmp_path / "pipelines"


def test_a_part_runs_with_its_limit_and_is_a_row_per_workload(programs: Path) -> None:
    result = run_part(Part("x", "0 learner", 20), ("--device", "cpu"), programs, time.monotonic() + 100)
    assert (result["status"], result["measured"]["words"][:5]) == (
        "ok",
        ["learner", "--device", "cpu", "--limit-s", "20"],
    )
    assert gpu.rows(result) == [
        ["x", "a", "2 u/s", "", "", "ok"],
        ["x", "b", "2 u/s", "a", "2.00", "ok"],
        ["x", "c", "", "", "", "skipped: no"],
    ]


def test_an_error_or_a_timeout_is_recorded_and_the_next_parts_run(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "QUICK", (Part("x", "3", 5), Part("y", "9", 0.5), Part("z", "0", 5)))
    monkeypatch.setattr(gpu, "GRACE_S", 0.5)
    path = tmp_path / "out.json"
    with pytest.raises(RunFailed, match=r"^x, y: see"):
        GpuSuite(quick=True, device="cpu", output=path).run(programs)
    parts = {part["name"]: (part["status"], part["message"]) for part in json.loads(path.read_text())["parts"]}
    assert parts == {"x": ("failed", "exit code 3: broken"), "y": ("failed", "ended after 1 s"), "z": ("ok", "")}
    assert "| y |  |  |  |  | failed: ended after 1 s |" in capsys.readouterr().out


def test_parts_are_skipped_when_the_budget_is_used_up(programs: Path) -> None:
    result = run_part(Part("x", "0", 20), (), programs, time.monotonic() + 1)
    assert gpu.rows(result) == [["x", "", "", "", "", "skipped: the time budget is used up"]]


def test_tests_without_pytest_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    result = run_part(Part(gpu.TESTS, "", 5), (), ROOT / "pipelines", time.monotonic() + 100)
    assert (result["status"], result["message"]) == ("skipped", "pytest is not installed")


def test_gpu_tests_are_those_that_ask_for_a_gpu() -> None:
    assert ROOT / "tests" / "training" / "test_graphed_on_gpu.py" in gpu_tests(ROOT / "tests")


def test_the_budget_is_divided_among_the_parts() -> None:
    assert sum(part.seconds for part in FULL) == GpuSuite().budget_s == 480
    result = run_part(FULL[1], (), ROOT, time.monotonic())
    assert all(len(row) == len(HEADERS) for row in gpu.rows(result))


def test_cuda_graphs_are_not_measured_on_a_cpu() -> None:
    graphed = [
        [part for part in GpuSuite(device=device).parts() if "--graphed" in part.args] for device in ("cpu", "cuda")
    ]
    assert [len(parts) for parts in graphed] == [0, 4]


@pytest.mark.timeout(900)  # the machine may be busy
def test_every_part_runs_on_a_cpu_at_its_smallest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "GRACE_S", 900.0)
    GpuSuite(quick=True, tests=False, budget_s=900, device="cpu", output=tmp_path / "gpu.json").run(ROOT / "pipelines")
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [part["status"] for part in parts] == ["ok"] * 4
    assert all(part["measured"]["rates"] for part in parts)


def test_programs_of_the_suite_do_not_import_ray(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; import pipelines.benchmark"
    assert gpu._run([sys.executable, "-c", code], 120, cwd=ROOT)[0] == "ok"

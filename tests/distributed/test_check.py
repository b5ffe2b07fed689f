"""The check of a cluster's nodes: every problem has its own message, and nothing is left behind."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import ray
from programs import load_program

from dwm_ray.cli import node_report
from dwm_ray.distributed.cluster import check
from dwm_ray.distributed.cluster.check import Facts, Node, inspect_cluster
from dwm_ray.runs.probe import folder_probe

GOOD = Facts({"python": "3.11.7", "torch": "2.13.0"}, ("H200 139 GiB",), 10**12, None)
NODE = Node("worker", "10.0.0.2", 8, 1, GOOD)


def other_facts(**changes: object) -> Node:
    return replace(NODE, facts=replace(GOOD, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (other_facts(versions={**GOOD.versions, "torch": "2.12.0"}), "torch is 2.12.0, the driver has 2.13.0"),
        (other_facts(versions={"python": "3.11.7"}), "torch is None, the driver has 2.13.0"),
        (replace(NODE, gpus=2), "Ray counts 2 GPUs, torch can use 1"),
        (replace(NODE, skew_s=-3.0, error_s=0.5), "its clock is -3.0 s from the driver's; expected at most 1 s"),
        (other_facts(storage="/runs does not exist here"), "storage: /runs does not exist here"),
        (replace(NODE, facts=None, error="no answer within 90 s"), "no answer within 90 s"),
    ],
)
def test_each_problem_is_one_line(node: Node, problem: str) -> None:
    assert node.problems(GOOD) == [problem]


def test_a_good_node_has_no_problem_and_a_slow_round_trip_is_none() -> None:
    assert NODE.problems(GOOD) == replace(NODE, skew_s=3.0, error_s=2.5).problems(GOOD) == []


def test_the_fastest_round_trip_counts() -> None:
    now = 0.0
    trips: Iterator[tuple[float, float]] = iter([(4.0, 0.0), (0.01, 0.03), *[(1.0, 1.0)] * 20])  # seconds there, back

    def remote() -> float:
        nonlocal now
        there, back = next(trips)
        now += there + back
        return now - back + 100.0

    skew, uncertainty = check.clock_skew(remote, lambda: now)
    # The middle of an uneven trip is off by half of the difference.
    assert (skew, uncertainty) == (pytest.approx(100.0 - 0.01, abs=1e-9), pytest.approx(0.02, abs=1e-9))


def test_code_that_differs_has_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = check.code_fingerprint(tmp_path)
    (tmp_path / "note.txt").write_text("no code")
    assert check.code_fingerprint(tmp_path) == before
    (tmp_path / "b.py").write_text("")
    assert check.code_fingerprint(tmp_path) != before


def test_the_drivers_own_facts(tmp_path: Path) -> None:
    with folder_probe(tmp_path) as probe:
        facts = check.local_facts(probe)
    assert facts.storage is None
    assert facts.free_bytes > 0
    assert facts.versions == check.local_versions()
    assert facts.versions["ray"] == ray.__version__


@pytest.fixture
def train() -> ModuleType:
    return load_program("pipelines/train.py")


def checked(train: ModuleType, monkeypatch: pytest.MonkeyPatch, output: Path, *nodes: Node) -> int:
    class Fitting:
        concurrent_trials = 3

    monkeypatch.setattr(node_report, "cluster_placement", lambda config, log: nullcontext(Fitting))
    monkeypatch.setattr(node_report, "inspect_cluster", lambda output, storage: (GOOD, list(nodes)))
    return train.main(["--check-cluster", "--output", str(output)])


def test_the_program_exits_with_1_if_a_node_has_a_problem_and_creates_no_run(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = replace(NODE, name="other", facts=None, error="no answer within 90 s")
    assert checked(train, monkeypatch, tmp_path, NODE, bad) == 1
    out = capsys.readouterr().out
    assert "other (10.0.0.2): no answer within 90 s" in out
    assert "2 nodes, 3 trials in parallel, 1 problems" in out
    assert checked(train, monkeypatch, tmp_path, NODE) == 0
    assert "1 nodes, 3 trials in parallel, 0 problems" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_check_refuses_options_of_a_run(train: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--check-cluster", "--in-process"]) == 2
    assert "--check-cluster: starts no run" in capsys.readouterr().err


@pytest.mark.cluster
def test_the_cluster_of_this_machine_has_no_problem(cluster: str, tmp_path: Path) -> None:
    driver, nodes = inspect_cluster(tmp_path)
    [node] = nodes
    assert node.problems(driver) == []
    assert node.cpus == 4
    assert abs(node.skew_s) <= node.error_s + 0.01, "one clock"
    assert list(tmp_path.iterdir()) == []

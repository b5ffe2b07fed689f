"""Who may import whom: import-linter's contracts (.importlinter) hold, and Ray stays where it belongs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = [
    path.relative_to(ROOT)
    for folder in ("dwm_ray", "pipelines", "tune_spaces")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "distributed" not in path.parts and "benchmarks/cluster" not in str(path)
]


def imported(source: str) -> Iterator[str]:
    """Top-level names of all packages that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_the_contracts_of_the_linter_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")  # the environment need not be activated
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", OUTSIDE, ids=str)
def test_ray_is_imported_in_distributed_only(path: Path) -> None:
    assert "ray" not in set(imported((ROOT / path).read_text()))


def test_the_scan_sees_imports_of_every_form() -> None:
    source = (
        "import ray.tune as t\ndef f():\n  from ray.train import Checkpoint\n  import numpy as np\nfrom . import ray"
    )
    assert sorted(imported(source)) == ["numpy", "ray", "ray"]
    assert len(OUTSIDE) > 50


def test_a_run_in_one_process_does_not_load_ray() -> None:
    modules = "dwm_ray.local.run, dwm_ray.experiment.plan, dwm_ray.cli.command_line, sys"
    code = f"import {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

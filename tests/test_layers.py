"""Layers of the packages, and what importing them does."""

import os
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from dwm_ray.registry import BASES, plugins

ROOT = Path(__file__).parents[1]
Graph = dict[str, set[str]]


@cache
def imports() -> Graph:
    """Modules that each module imports, also within functions or for annotations, and those found by name."""
    graph = grimp.build_graph("dwm_ray", "tune_spaces", "pipelines", include_external_packages=True)
    edges = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    for kind in BASES:
        edges["dwm_ray.registry"] |= graph.find_children(f"dwm_ray.{kind}")
    edges["dwm_ray.experiment.search_space"] |= graph.find_children("tune_spaces")
    return edges


def cycle(edges: Graph) -> list[str]:
    """Return the modules of an import cycle; none if there is no cycle."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_contracts_of_the_linter_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")  # the environment need not be activated
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


def test_no_import_cycle() -> None:
    assert cycle(imports()) == []


def test_ray_is_imported_in_its_packages_only() -> None:
    users = {module for module, imported in imports().items() if "ray" in imported}
    assert len(users) > 10
    assert {
        module for module in users if not module.startswith(("dwm_ray.distributed", "dwm_ray.benchmarks.cluster"))
    } == set()


def test_a_run_in_one_process_does_not_load_ray() -> None:
    modules = "dwm_ray.local.executor, dwm_ray.experiment.plan, dwm_ray.cli.execution, sys"
    code = f"import {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_at_most_seven_modules_lie_at_the_top_level() -> None:
    names = {path.stem for path in (ROOT / "dwm_ray").glob("*.py")} - {"__init__"}
    assert len(names) <= 7, names


@pytest.mark.parametrize("kind", list(BASES))
def test_folders_of_plugins_hold_plugins_only(kind: str) -> None:
    files = {path.stem for path in (ROOT / "dwm_ray" / kind).glob("*.py")} - {"__init__", "base"}
    assert files == {name for name, cls in plugins(kind).items() if cls.__module__.startswith("dwm_ray.")}


PROGRAM = """
import importlib, os, pkgutil, sys, threading
before = dict(os.environ)
import dwm_ray
def failed(name):
    raise
for module in pkgutil.walk_packages(dwm_ray.__path__, "dwm_ray.", onerror=failed):
    importlib.import_module(module.name)
changed = {name for name in os.environ.keys() | before.keys() if os.environ.get(name) != before.get(name)}
assert changed <= set(sys.argv[1:]), changed
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert "ray.tune" in sys.modules
assert not {"torch._dynamo", "tensorboardX.writer"} & sys.modules.keys()
"""
OF_LIBRARIES = ("RAY_CLIENT_MODE", "PYGAME_HIDE_SUPPORT_PROMPT", "TORCHINDUCTOR_CACHE_DIR")
"""Variables that Ray, Gymnasium and torch set when they are imported."""


def test_importing_every_module_has_no_effect(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    environment |= {"HOME": str(home)}
    command = [sys.executable, "-c", PROGRAM, *OF_LIBRARIES]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(home.rglob("*")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["home"]

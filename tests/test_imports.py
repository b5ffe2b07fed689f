"""Importing dwm_ray has no effect: no environment variable, no file, no thread; and no slow import that few need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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

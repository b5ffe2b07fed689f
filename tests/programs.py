"""The project's programs as modules, so that tests can call into them."""

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


@lru_cache
def load_program(path: str) -> ModuleType:
    """A program by its path in the project; the same module for all who ask."""
    spec = importlib.util.spec_from_file_location(f"program_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations and dataclasses are looked up there
    spec.loader.exec_module(module)
    return module

"""File name -> plug-in class.

A plug-in is one file in `world_models/`, `agents/` or `filters/` that defines one subclass of the folder's base class,
with its options in the nested name `Config`. Its name is its file's name; nothing else has to be edited to add one.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

BASES = {"world_models": "WorldModel", "agents": "Agent", "filters": "Filter"}


@cache
def plugins(kind: str) -> dict[str, type]:
    """All plug-ins of a kind ('world_models', 'agents', 'filters'), by name, in alphabetical order."""
    package = importlib.import_module(f"dwm_ray.{kind}")
    base = getattr(importlib.import_module(f"dwm_ray.{kind}.base"), BASES[kind])
    modules = (
        importlib.import_module(f"dwm_ray.{kind}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    )
    found = {m.__name__.rsplit(".", 1)[1]: _defined_here(m, base) for m in modules}
    return {name: cls for name, cls in sorted(found.items()) if cls is not None}


def _defined_here(module: Any, base: type) -> type | None:
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__ and issubclass(cls, base) and cls is not base:
            return cls
    return None


def find(kind: str, name: str) -> Any:
    """The plug-in class called `name`; ValueError with the nearest names where there is none."""
    known = plugins(kind)
    if name not in known:
        raise ValueError(f"unknown {kind[:-1].replace('_', ' ')} {name!r}{suggest(name, list(known))}")
    return known[name]


def suggest(name: str, known: list[str]) -> str:
    """The end of an error message: the names nearest to a mistyped one, or all."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else f"; known: {', '.join(known)}"

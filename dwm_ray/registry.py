"""Plug-ins by name.

A plug-in is one subclass of a kind's base class, with its options in the nested name `Config`. It is defined in a file
of `world_models/`, `agents/` or `filters/`, or another distribution registers it in the entry-point group
`dwm_ray.world_models`, `dwm_ray.agents` or `dwm_ray.filters`: `NAME = "package.NAME"`, the module or the class. Nothing
else has to be edited to add a plug-in.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from dwm_ray.errors import lookup, one_line

BASES = {"world_models": "WorldModel", "agents": "Agent", "filters": "Filter"}
"""Kind of plug-in -> its base class in the module `base` of the kind's package."""


@cache
def plugins(kind: str) -> dict[str, type]:
    """Return all plug-ins of a kind ('world_models', ...) by name, sorted; raise ValueError for bad entry points."""
    base = getattr(importlib.import_module(f"dwm_ray.{kind}.base"), BASES[kind])
    classes = _in_package(f"dwm_ray.{kind}", base)
    for entry in entry_points(group=f"dwm_ray.{kind}"):
        if entry.name in classes:
            raise ValueError(f"{_origin(entry)}: the name is taken by {classes[entry.name]!r}; expected another name")
        classes[entry.name] = _loaded(entry, base)
    return dict(sorted(classes.items()))


def find(kind: str, name: str) -> Any:
    """Return the plug-in class called `name`; raise ValueError with similar names if there is none."""
    return lookup(plugins(kind), name, f"unknown {kind[:-1].replace('_', ' ')}")


def modules_of(package: str) -> dict[str, ModuleType]:
    """Import the modules of a package and return them by name."""
    folders = importlib.import_module(package).__path__
    return {info.name: importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(folders)}


def summary(module: ModuleType) -> str:
    """Return the first paragraph of a module's docstring on one line, without its full stop."""
    return " ".join((module.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def _in_package(package: str, base: type) -> dict[str, type]:
    classes = {name: _defined_in(module, base) for name, module in modules_of(package).items()}
    return {name: _checked(cls, name, base, f"{package}.{name}") for name, cls in classes.items() if cls is not None}


def _defined_in(module: ModuleType, base: type) -> type | None:
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__ and issubclass(cls, base) and cls is not base:
            return cls
    return None


def _loaded(entry: EntryPoint, base: type) -> type:
    """Return the plug-in of an entry point, which names a class or the module that defines it."""
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:  # the code of another distribution may raise anything
        raise ValueError(
            f"{_origin(entry)}: cannot load {entry.value} ({type(error).__name__}: {one_line(error)}); expected an "
            f"importable {base.__name__}"
        ) from error
    cls = _defined_in(loaded, base) if isinstance(loaded, ModuleType) else loaded
    return _checked(cls, entry.name, base, _origin(entry))


def _checked(cls: Any, name: str, base: type, origin: str) -> type:
    """Return the plug-in class; raise ValueError if it has no options of its own or another name."""
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise ValueError(f"{origin}: {cls!r} is not a plug-in; expected a {base.__name__}")
    config: Any = getattr(cls, "Config", None)
    if getattr(config, "plugin", None) != cls:
        raise ValueError(f"{origin}: {cls!r} has no options of its own; expected a nested Config")
    if config.plugin_name() != name:
        raise ValueError(f"{origin}: {cls!r} is named {config.plugin_name()!r} after its module; expected {name!r}")
    return cls


def _origin(entry: EntryPoint) -> str:
    owner = f" of distribution {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"entry point {entry.name!r} in group {entry.group}{owner}"

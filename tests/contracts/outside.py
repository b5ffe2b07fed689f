"""A distribution with the plug-ins in `tests/plugins`, outside the package."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributions import write_distribution

from dwm_ray import registry

PLUGINS = Path(__file__).parents[1] / "plugins"
ENTRY_POINTS = {"dwm_ray.world_models": {"flow_matching": "flow_matching"}}


@contextmanager
def outside_plugins() -> Iterator[None]:
    """Make the plug-ins visible as if their distribution was installed."""
    with TemporaryDirectory() as metadata:
        write_distribution(Path(metadata), "flow-matching", ENTRY_POINTS)
        before = list(sys.path)
        sys.path[:0] = [metadata, str(PLUGINS)]
        registry.plugins.cache_clear()
        try:
            yield
        finally:
            sys.path[:] = before
            registry.plugins.cache_clear()


def trained_models() -> list[str]:
    """Return the names of the world models that are trained, that of the distribution included."""
    models: dict[str, Any] = all_plugins("world_models")
    return [name for name, cls in models.items() if cls.trained]


def all_plugins(kind: str) -> dict[str, type]:
    """Return the plug-ins of a kind, those of the distribution included."""
    with outside_plugins():
        return registry.plugins(kind)

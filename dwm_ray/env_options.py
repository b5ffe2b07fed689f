"""Differences between an environment and the registration of its Gymnasium id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EnvOptions:
    """Deviations of an environment from the registration of its id; hashable, so that caches can use them as keys."""

    kwargs: str = "{}"
    """JSON object of the keyword arguments that differ from the registered ones."""
    max_episode_steps: int | None = None
    """Time limit, or None for the registered one."""
    wrappers: tuple[tuple[str, str], ...] = ()
    """(name in `gymnasium.wrappers`, JSON object of its arguments), the innermost first."""

    def to_json(self) -> dict[str, Any]:
        """Return the options as a JSON tree."""
        return {**vars(self), "wrappers": [list(wrapper) for wrapper in self.wrappers]}

    def attributes(self) -> dict[str, str]:
        """Return the differences from the registration as text attributes of a data file."""
        return {
            f"env_{name}": value if isinstance(value, str) else json.dumps(value)
            for name, value in vars(self).items()
            if value != getattr(REGISTERED, name)
        }

    @staticmethod
    def from_json(tree: dict[str, Any]) -> EnvOptions:
        """Return the options of a tree of `to_json`; an empty tree has none."""
        return EnvOptions(**{**tree, "wrappers": tuple(map(tuple, tree.get("wrappers", ())))})


REGISTERED = EnvOptions()
"""Environment without differences from its registration."""

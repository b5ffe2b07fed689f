"""Faults: processes killed, memory and disk taken away, and what becomes of a sweep. Runs on a cluster of its own; see
`distributed/faults`, which this package, that knows nothing of Ray, does not import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Faults:
    """What a sweep does when its processes are killed and its memory or disk is full; a table, no rates."""

    name: ClassVar[str] = "faults"

    updates: int = 4000
    """Updates of each learner: enough that it still learns when the last of the kills comes."""

"""The actor that knows who builds which world model; its module loads nothing heavy, so its process starts light."""

from __future__ import annotations

import time

LEASE_S = 20.0


class Leases:
    """Who builds what; a claim lapses unless it is renewed."""

    def __init__(self) -> None:
        self._holders: dict[str, tuple[str, float]] = {}

    def claim(self, name: str, owner: str) -> bool:
        """Take or renew the claim; False while another owner's is fresh."""
        holder, since = self._holders.get(name, (owner, 0.0))
        if holder != owner and time.monotonic() - since < LEASE_S:
            return False
        self._holders[name] = (owner, time.monotonic())
        return True

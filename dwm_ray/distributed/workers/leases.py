"""Leases on world models that are being trained; the module imports no large package, which keeps its process small."""

import time

LEASE_S = 20.0


class Leases:
    """Actor that grants one lease per name; a lease expires after 20 s unless it is renewed."""

    def __init__(self) -> None:
        self._holders: dict[str, tuple[str, float]] = {}

    def acquire(self, name: str, owner: str) -> bool:
        """Grant or renew a lease; return False while another owner holds it."""
        holder, since = self._holders.get(name, (owner, 0.0))
        if holder != owner and time.monotonic() - since < LEASE_S:
            return False
        self._holders[name] = (owner, time.monotonic())
        return True

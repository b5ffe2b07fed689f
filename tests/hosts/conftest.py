"""What these tests need of the machine; where it is missing they are skipped with a line that says so."""

from __future__ import annotations

import pytest
from machines import missing

NAMESPACES = ("unshare", "nsenter", "setpriv", "ip", "ps", "mount")


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Namespaces can be made here."""
    if why := missing(NAMESPACES):
        pytest.skip(why)


@pytest.fixture(scope="session")
def ssh(namespaces: None) -> None:
    """Hosts that `ray up` can reach can be made here."""
    if why := missing((*NAMESPACES, "sshd", "ssh", "ssh-keygen", "rsync")):
        pytest.skip(why)

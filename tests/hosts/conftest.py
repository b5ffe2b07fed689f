"""Requirements of these tests; without them the tests are skipped with the reason."""

import pytest
from machines import missing

NAMESPACES = ("unshare", "nsenter", "setpriv", "ip", "ps", "mount")


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Require that namespaces can be created."""
    if why := missing(NAMESPACES):
        pytest.skip(why)


@pytest.fixture(scope="session")
def ssh(namespaces: None) -> None:
    """Require that hosts for `ray up` can be created."""
    if why := missing((*NAMESPACES, "sshd", "ssh", "ssh-keygen", "rsync")):
        pytest.skip(why)

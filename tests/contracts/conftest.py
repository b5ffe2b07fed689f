"""Contract tests run with a plug-in from outside the package."""

from collections.abc import Iterator

import pytest
from outside import outside_plugins


@pytest.fixture(autouse=True, scope="module")
def _outside_plugins() -> Iterator[None]:
    with outside_plugins():
        yield

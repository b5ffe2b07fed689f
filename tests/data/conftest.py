import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MuJoCo writes its log into the working directory, which is not to be the repository."""
    before = os.getcwd()  # noqa: PTH109
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(before)

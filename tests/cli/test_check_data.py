"""The program that checks a dataset, and the page that it writes."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_task import recording

from pipelines.check_data import main


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of six episodes in which the end of the second one is not marked."""
    monkeypatch.chdir(tmp_path)
    path = recording(tmp_path / "mine.hdf5")
    with h5py.File(path, "r+") as content:
        content["timeouts"][399] = False
    return path


def test_findings_are_printed_and_a_page_is_written(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == 0
    shown = capsys.readouterr().out
    assert "checks: 1 rows do not lead to the following row: episodes cut there, as by a time limit" in shown
    assert "observation 2" in shown
    assert shown.splitlines()[-1] == "mine-check.html"
    page = Path("mine-check.html").read_text()
    for title in ("Returns", "Lengths", "Actions", "Rewards", "rows do not lead to the following row"):
        assert title in page
    assert not re.search(r"(src|href)=.http", page)
    facts = json.loads(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1].replace("&#34;", '"'))  # type: ignore[index]
    assert facts["findings"][0]["rows"] == 1


def test_output_and_constant_entries(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(file, "r+") as content:
        for key in ("observations", "next_observations"):
            content[key][:, 2] = np.float32(0.5)
    assert main([str(file), "--output", "pages/mine.html"]) == 0
    assert "1 of 3 entries of observations never vary." in capsys.readouterr().out
    assert "never vary" in Path("pages/mine.html").read_text()


def test_refused_data_are_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(file, "r+") as content:
        content["rewards"][3] = np.nan
    assert main([str(file)]) == 2
    assert "'rewards' has NaN or infinite values in 1 rows, first in row 3" in capsys.readouterr().err
    assert not Path("mine-check.html").exists()

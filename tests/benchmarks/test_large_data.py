"""The suite of data larger than memory, with a few thousand rows that count as large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwm_ray.benchmarks.options import Options
from dwm_ray.benchmarks.suites.large_data import LargeData
from dwm_ray.data import mapped


def test_memory_and_rates_of_mapped_rows_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DWM_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "LARGE", 250_000)
    suite = LargeData(rows=3000, fitting_rows=2000, folder=tmp_path, updates=2)
    suite.run(Options(repeats=2, output=tmp_path / "out.json"), Path())
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["rows"] == 3000
    assert 0.01 < found["load_or_convert_gb"] <= found["learner_gb"] + 1
    assert len(found["mapped_updates_per_s"]) == len(found["fitting_updates_per_s"]) == 2
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 2, "only the large set is mapped"
    assert "in memory" in capsys.readouterr().out

"""Tables as text, JSON and page."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from dwm_ray.report.findings import Findings, show, write
from dwm_ray.report.panels import Line, Panel, plot_panels
from dwm_ray.report.table import Table

TABLE = Table("Errors", ["model", "1", "2"], [["DWM <b>", 0.25, None], ["OneStep", 1234.5, 7]], "A note.")


@pytest.fixture
def findings() -> Findings:
    figure = plot_panels("errors", "Figure", "Caption.", [Panel("p", "x", "y", [Line("a", [1, 2], [1.0, 2.0])])])
    return Findings("A title", ["What was done."], [TABLE], [figure], {"raw": [1, 2]})


def test_the_terminal_shows_every_cell(findings: Findings) -> None:
    console = Console(record=True, width=80)
    show(console, findings)
    shown = console.export_text()
    assert all(word in shown for word in ("Errors", "DWM <b>", "0.250", "A note."))


def test_a_folder_gets_numbers_figures_and_a_page_that_needs_nothing_else(
    tmp_path: Path, findings: Findings, check_page: Callable[[str], None]
) -> None:
    page = write(tmp_path, findings, {"study": "a", "profile": "laptop"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "study.json"]
    numbers = json.loads((tmp_path / "study.json").read_text())
    assert (numbers["study"], numbers["raw"], numbers["tables"][0]["rows"][1]) == ("a", [1, 2], ["OneStep", 1234.5, 7])
    html = page.read_text()
    check_page(html)
    assert "DWM &lt;b&gt;" in html
    assert "<svg" in html
    assert "&#34;profile&#34;: &#34;laptop&#34;" in html

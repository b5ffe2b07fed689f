"""Panels of lines: content, equal styles of equal labels, and values as text."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from dwm_ray.report.chart import MARKERS, Style
from dwm_ray.report.findings import Findings, write
from dwm_ray.report.panels import Line, Panel, RunStyles, plot_panels, styles_of
from dwm_ray.report.scales import Kind
from dwm_ray.report.table import Table, format_count, format_score, format_seconds, text


def panel(*lines: Line, title: str = "one", yscale: Kind = "linear") -> Panel:
    return Panel(title, "step", "error", list(lines), yscale)


def ticks(svg: str) -> list[str]:
    """Return the labels left of the axis."""
    return re.findall(r'text-anchor="end">([^<]*)<', svg)[:-1]


def test_a_figure_has_its_panels_and_names_every_line_once() -> None:
    lines = [Line("DWM", [1, 2], [0.1, None], "DWM"), Line("DWM, clone", [1, 2], [0.2, 0.3], "DWM")]
    figure = plot_panels("errors", "Errors", "A caption.", [panel(*lines), panel(lines[0], title="two")])
    assert (figure.name, figure.caption, len(figure.panels)) == ("errors", "A caption.", 2)
    assert [label for label, _ in figure.legend] == ["DWM", "DWM, clone"]
    assert 'aria-label="Errors: one, error by step. DWM no value; DWM, clone 0.3"' in figure.panels[0]


def test_values_are_titles_of_points_and_a_table() -> None:
    lines = [Line("a", [10000, 20000], [0.12345, 12.345]), Line("level", [10000, 20000], [1.0, 1.0], reference=True)]
    figure = plot_panels("errors", "Errors", "", [panel(*lines)])
    assert re.findall(r"<title>(.*?)</title>", figure.panels[0]) == ["level", "a", "a: 0.123 at 10k", "a: 12.3 at 20k"]
    [table] = figure.values
    assert table.headers == ["step", "a", "level"]
    assert table.rows == [["10k", "0.123", "1"], ["20k", "12.3", "1"]]


def test_text_is_escaped() -> None:
    figure = plot_panels("e", "<E>", "", [panel(Line("<b>", [1], [1.0]), title="<i>")])
    ElementTree.fromstring(figure.panels[0])
    assert "<b>" not in figure.panels[0]
    assert "<i>" not in figure.panels[0]


def test_panels_without_lines_are_left_out() -> None:
    assert len(plot_panels("e", "Errors", "", [panel(Line("a", [1], [1.0])), panel(title="nothing")]).panels) == 1
    assert plot_panels("e", "Errors", "", [panel()]).panels == []


def test_missing_values_are_gaps_and_few_points_have_markers() -> None:
    [svg] = plot_panels("e", "", "", [panel(Line("a", [1, 2, 3, 4, 5], [1.0, 2.0, None, 3.0, 4.0]))]).panels
    assert svg.count('class="l"') == 2
    assert svg.count('class="m"') == 4
    [long] = plot_panels("e", "", "", [panel(Line("a", range(100), range(100)))]).panels
    assert (long.count('class="l"'), long.count('class="m"')) == (1, 0)


def test_rows_have_names_points_and_intervals() -> None:
    rows = [Line("first", [5.0], [0], interval=(4.0, 6.0), connected=False), Line("second", [2.0], [1])]
    figure = plot_panels("r", "R", "", [Panel("", "score", "", rows, ynames=["first", "second"])])
    assert ticks(figure.panels[0]) == ["first", "second"]
    assert "<title>first: 5 [4, 6]</title>" in figure.panels[0]
    assert figure.legend == [], "the rows are named"
    tops = [float(y) for y in re.findall(r'class="m" transform="translate\([\d.]+ ([\d.]+)\)', figure.panels[0])]
    assert tops == sorted(tops), "the first row is on top"


def test_panels_of_one_scale_have_the_same_ticks() -> None:
    panels = [panel(Line("a", [1, 2], [0.0, 1.0])), panel(Line("a", [1, 2], [50.0, 100.0]))]
    low, high = plot_panels("e", "", "", panels, same_scale=True).panels
    assert ticks(low) == ticks(high) == ["0", "25", "50", "75", "100"]
    assert ticks(plot_panels("e", "", "", panels).panels[0]) == ["0", "0.25", "0.5", "0.75", "1"]


def test_lines_of_a_group_share_their_colour_and_differ_in_style() -> None:
    fixed = Style(4, 1, 2)
    styles = styles_of(
        [
            Line("a", [1], [1], "g"),
            Line("b", [1], [1], "g"),
            Line("c", [1], [1]),
            Line("r", [1], [1], reference=True),
            Line("m", [1], [1], style=fixed),
        ]
    )
    assert styles["a"].color == styles["b"].color != styles["c"].color
    assert styles["a"].dash != styles["b"].dash
    assert styles["r"].color is None
    assert styles["m"] == fixed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001, 1.0], ["0.001", "0.01", "0.1", "1"]),
        ([0.5, 1.0], ["0.6", "0.8", "1"]),
        ([-0.5, 100.0], ["0", "25", "50", "75", "100"]),
        ([1e-14, 1.0], ["1e-4", "0.001", "0.01", "0.1", "1"]),
        ([0.0, 0.0], ["-0.04", "-0.02", "0", "0.02", "0.04"]),
    ],
    ids=["wide", "narrow", "crossing zero", "nearly nothing", "nothing"],
)
def test_a_panel_is_logarithmic_where_its_values_are_not_negative_and_differ_widely(
    values: list[float], expected: list[str]
) -> None:
    assert ticks(plot_panels("a", "A", "", [panel(Line("x", [1, 2], values), yscale="log")]).panels[0]) == expected


def test_looks_keep_color_for_the_world_model_and_line_for_the_agent() -> None:
    trials = [{"world_model": model, "agent": agent} for model in (None, "dwm") for agent in ("iql", "td3_bc")]
    styles = RunStyles(trials, [{"name": "one_step"}])
    iql, td3, dwm_iql, dwm_td3 = (styles.of(trial) for trial in trials)
    assert iql.color is td3.color is None
    assert dwm_iql.color == dwm_td3.color == 0
    assert (iql.dash, iql.marker) == (dwm_iql.dash, dwm_iql.marker) != (td3.dash, td3.marker)
    assert styles.of_model("one_step").color == 1
    assert len(set(MARKERS)) == 4


TABLE = Table("Errors", ["model", "first step", "note"], [["DWM", 0.25, None], ["One|Step", 1234.5, "a"]], "A note.")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (0.25, "0.250"),
        (-0.0042, "-0.004"),
        (12.34, "12.3"),
        (1234.5, "1\u202f234"),
        (20000, "20\u202f000"),
        (None, "–"),
        ("x", "x"),
    ],
)
def test_cells_are_short(cell, expected):
    assert text(cell) == expected


def test_markdown_has_a_line_per_row_and_escapes_bars():
    assert TABLE.markdown().splitlines() == [
        "| model | first step | note |",
        "| --- | --- | --- |",
        "| DWM | 0.250 | – |",
        "| One\\|Step | 1\u202f234 | a |",
    ]


def test_columns_of_words_are_left_aligned():
    assert TABLE.left_aligned() == [True, False, True]
    assert [column.justify for column in TABLE.terminal().columns] == ["left", "right", "left"]


def test_the_terminal_stars_the_best_row_and_shows_title_and_note():
    console = Console(width=80, record=True)
    console.print(Table("Errors", ["model", "score"], [["a", 1], ["b", 2]], "A note.", ("failed", "best")).terminal())
    shown = console.export_text()
    assert all(args in shown for args in ("Errors", "A note."))
    assert [line.split() for line in shown.splitlines() if "*" in line] == [["*", "b", "2"]]


def test_formats():
    assert [format_seconds(s) for s in (None, 42.4, 125.0, 12_600.0)] == ["–", "42 s", "2 min", "3.5 h"]
    assert format_count(1_234_567) == "1\u202f234\u202f567"
    assert format_score(36.06, None) == "36.1 ± 0.0"
    assert format_score(None, None) == "–"


ERRORS = Table("Errors", ["model", "1", "2"], [["DWM <b>", 0.25, None], ["OneStep", 1234.5, 7]], "A note.")


@pytest.fixture
def findings() -> Findings:
    figure = plot_panels("errors", "Figure", "Caption.", [Panel("p", "x", "y", [Line("a", [1, 2], [1.0, 2.0])])])
    return Findings("A title", ["What was done."], [ERRORS], [figure], {"raw": [1, 2]})


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

"""Table cells for a terminal and for Markdown."""

import pytest
from rich.console import Console

from dwm_ray.report.table import Table, format_count, format_score, format_seconds, text

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
    assert all(words in shown for words in ("Errors", "A note."))
    assert [line.split() for line in shown.splitlines() if "*" in line] == [["*", "b", "2"]]


def test_formats():
    assert [format_seconds(s) for s in (None, 42.4, 125.0, 12_600.0)] == ["–", "42 s", "2 min", "3.5 h"]
    assert format_count(1_234_567) == "1\u202f234\u202f567"
    assert format_score(36.06, None) == "36.1 ± 0.0"
    assert format_score(None, None) == "–"

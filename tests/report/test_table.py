from rich.console import Console

from dwm_ray.report.collect import collect_results
from dwm_ray.report.table import format_count, format_score, format_seconds, result_rows, result_table


def test_rows_are_ordered_by_score_with_unfinished_ones_last_and_one_marked(run):
    results = collect_results(run)
    headers, rows = result_rows(results)
    scores = [float(row.cells[headers.index("score ± std")].split()[0]) for row in rows if row.status == "done"]
    assert scores == sorted(scores, reverse=True)
    assert [row.best for row in rows] == [True] + [False] * 9
    assert rows[-1].status == "failed"
    assert rows[-1].cells[headers.index("score ± std")] == "–"


def test_model_free_rows_have_no_horizon_and_searched_axes_get_columns(run):
    results = collect_results(run)
    results["trials"][0]["values"]["sequence_length"] = 16
    headers, rows = result_rows(results)
    assert headers[2:5] == ["horizon", "target RTG", "sequence length"]
    free = next(row for row in rows if row.cells[0] == "TD3+BC")
    assert free.cells[2:5] == ["–", "–", "–"]
    assert sum(row.cells[4] == "16" for row in rows) == 1


def test_terminal_table_fits_80_columns_and_stars_the_best(run):
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(result_table(collect_results(run)))
    lines = capture.get().splitlines()
    assert not any("…" in line for line in lines)
    starred = [line for line in lines if line.lstrip().startswith("*")]
    assert len(starred) == 1
    assert "DWM-TD3+BC" in starred[0]


def test_formats():
    assert [format_seconds(s) for s in (None, 42.4, 125.0, 12_600.0)] == ["–", "42 s", "2 min", "3.5 h"]
    assert format_count(1_234_567) == "1\u202f234\u202f567"
    assert format_score(36.06, None) == "36.1 ± 0.0"
    assert format_score(None, None) == "–"

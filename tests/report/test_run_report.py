"""Tables and page of a run, and the program that rebuilds them."""

import json

import pytest
from programs import load_program
from rich.console import Console

from dwm_ray.report.collect import collect_results
from dwm_ray.report.run_report import key_facts, render, sharing_facts, write_report
from dwm_ray.report.run_tables import summary_markdown, summary_table, trial_table


def test_trials_are_ordered_by_score_with_unfinished_ones_last_and_one_marked(results):
    table = trial_table(results)
    scores = [row[table.headers.index("score ± std")] for row in table.rows]
    means = [float(score.split()[0]) for score in scores[:-1]]
    assert means == sorted(means, reverse=True)
    assert table.marks == ("best", *["done"] * 8, "failed")
    assert scores[-1] == "–"


def test_model_free_rows_have_no_horizon_and_searched_axes_get_columns(results):
    results["trials"][0]["values"]["sequence_length"] = 16
    table = trial_table(results)
    assert table.headers[1:4] == ["horizon", "target RTG", "sequence length"]
    free = next(row for row in table.rows if row[0] == "TD3+BC")
    assert free[1:4] == ["–", "–", "–"]
    assert sum(row[3] == "16" for row in table.rows) == 1


def test_trial_table_fits_80_columns_and_stars_the_best(results):
    console = Console(width=80, record=True)
    console.print(trial_table(results).terminal())
    lines = console.export_text().splitlines()
    assert not any("…" in line for line in lines)
    starred = [line for line in lines if line.lstrip().startswith("*")]
    assert len(starred) == 1
    assert "DWM-TD3+BC" in starred[0]


def test_summary_has_one_row_per_method_and_setting_over_seeds(results):
    rows = summary_table(results).rows
    finished = {(t["method"], *t["values"].values()) for t in results["trials"] if t["status"] == "done"}
    assert len(rows) == len(finished)
    means = [float(row[3].split()[0]) for row in rows]
    assert means == sorted(means, reverse=True)
    first, second = [t["score_mean"] for t in results["trials"] if t["method"] == "TD3+BC"]
    model_free = next(row for row in rows if row[0] == "TD3+BC")
    spread = abs(first - second) / 2
    assert model_free[1:] == ["–", "–", f"{(first + second) / 2:.1f} ± {spread:.1f}", 2, 10, 20_000, "2 min"]
    single = next(row for row in rows if row[:3] == ["DWM-TD3+BC", "3", "0.5"])
    assert (single[3].split()[-1], single[4]) == ("1.5", 1), "one seed has failed: ± is over episodes"


def test_summary_names_the_data(results):
    last = summary_markdown(results).splitlines()[-1]
    assert all(args in last for args in ("bundled SAC recording", "0123456789abcdef", "last checkpoint"))


def test_shared_parts_have_counts_and_times(results):
    shared = sharing_facts(results)
    assert shared["world models trained"].endswith(", used by 8 trials")
    assert shared["world models with corrected returns"] == "1"
    assert shared["segments consumed"].endswith("(7.0 per generated segment)")
    assert (shared["time of world models"], shared["time of streams"]) == ("8 min", "36 s")
    user = next(trial for trial in results["trials"] if trial["world_model"] == "dwm")
    user["world_model"] = "recorded"  # nothing is trained for it
    assert sharing_facts(results)["world models trained"].endswith(", used by 7 trials")
    results["counters"] = {}
    assert sharing_facts(results) == {}


def test_key_facts_name_data_seeds_updates_and_checkpoint(results):
    facts = key_facts(results)
    assert facts["data"] == "bundled SAC recording, 200\u202f000 transitions of HalfCheetah-v5"
    assert (facts["seeds"], facts["updates"]) == ("2", "20\u202f000")
    assert facts["checkpoint"] == "last, scored over 10 episodes"
    assert facts["trials"] == "9 of 10 finished"
    assert facts["scores in data"] == "mean 19.2, best episode 42.6"
    assert "checks" not in facts


def test_repairs_of_the_data_are_on_the_page(results):
    results["data"]["findings"] = [{"rows": 7, "text": "unmarked episode ends: cut there, as by a time limit"}]
    assert key_facts(results)["checks"] == "7 unmarked episode ends: cut there, as by a time limit"
    assert "7 unmarked episode ends" in render(results)


def test_page_names_the_models_that_are_not_calibrated_and_by_how_much(run):
    text = write_report(run).read_text()
    # drifts of .06 and .003 per step: 42 % and 2.1 % at step 7
    assert "<td>42.0%</td>" in text
    assert text.count("NOT calibrated: ends and rewards") == 1
    assert text.count("NOT calibrated: rewards") == 1


def test_page_is_wellformed_and_names_data_errors_and_checkpoint(run, check_page):
    text = write_report(run).read_text()
    check_page(text)
    assert all(args in text for args in ("bundled SAC recording", "the agent has diverged", "last checkpoint"))
    assert text.count("<figure") == 8
    assert "No frames: the run folder has no weights of the policy." in text


def test_text_of_a_run_is_escaped(results, check_page):
    results["data"]["source"] = "<b>mine</b>"
    results["trials"][0]["error"] = "<img src=x>"
    text = render(results)
    check_page(text)
    assert "&lt;b&gt;mine" in text
    assert "<b>mine" not in text


def test_run_without_any_score_has_a_page(tmp_path, check_page):
    (tmp_path / "config.json").write_text(json.dumps({"run": {"task": "hopper-medium"}}))
    text = write_report(tmp_path, tmp_path / "pages" / "now.html").read_text()
    check_page(text)
    assert "No trial has finished" in text


@pytest.fixture
def pipeline():
    return load_program("pipelines/report.py")


def test_pipeline_rebuilds_results_and_page(run, pipeline, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report.py", str(run), "--out", str(run / "other.html")])
    assert pipeline.main() == 0
    assert json.loads((run / "results.json").read_text()) == collect_results(run)
    assert (run / "other.html").is_file()
    assert "DWM-TD3+BC" in capsys.readouterr().out


def test_pipeline_ends_with_2_and_one_line_for_a_folder_that_is_no_run(tmp_path, pipeline, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report.py", str(tmp_path)])
    assert pipeline.main() == 2
    assert capsys.readouterr().err.count("\n") == 1

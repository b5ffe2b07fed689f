import json
import re
from html.parser import HTMLParser

import pytest
from programs import load_program

from dwm_ray.report.collect import collect_results
from dwm_ray.report.page import headline, render, write_report

VOID = {"meta", "br", "hr", "link", "img", "input"}


class Balanced(HTMLParser):
    """Raises where an element is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_wellformed_and_loads_nothing_from_elsewhere(run):
    text = write_report(run).read_text()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"(https?:)?//[a-z]|<script|<link|@import", without_namespaces)


def test_page_tells_the_source_of_the_data_and_the_error_of_a_failed_trial(run):
    text = render(collect_results(run))
    assert "bundled SAC recording" in text
    assert "the agent has diverged" in text
    assert text.count("<figure>") == 5
    assert "last checkpoint" in text


def test_what_a_run_says_is_escaped(run):
    results = collect_results(run)
    results["data"]["source"] = "<b>mine</b>"
    results["trials"][0]["error"] = "<img src=x>"
    text = render(results)
    assert "<b>mine" not in text
    assert "&lt;b&gt;mine" in text
    assert "<img" not in text


def test_headline_compares_with_the_model_free_trials_of_the_same_agent(run):
    results = collect_results(run)
    head = headline(results)
    free = [trial["score_mean"] for trial in results["trials"] if trial["world_model"] is None]
    assert head["model_free"]["score"].startswith(f"{sum(free) / 2:.1f} ± ")
    assert (head["setting"]["num"], head["num_scored"]) == (2, 9)
    for trial in results["trials"]:
        trial["agent"] = trial["agent"] if trial["world_model"] else "iql"
    assert headline(results)["model_free"] is None


def test_run_without_any_score_has_a_page(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"run": {"task": "hopper-medium"}}))
    out = write_report(tmp_path, tmp_path / "pages" / "now.html")
    assert "No trial has finished" in out.read_text()


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

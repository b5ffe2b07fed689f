"""The Markdown table groups by method and point, and says what a score needs beside it."""

from dwm_ray.report.collect import collect_results
from dwm_ray.report.summary import markdown_summary


def test_one_row_per_method_and_point_over_its_seeds(run):
    results = collect_results(run)
    lines = markdown_summary(results).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:] if line.startswith("|")]
    finished = {(t["method"], *t["values"].values()) for t in results["trials"] if t["status"] == "done"}
    assert len(rows) == len(finished)
    model_free = next(row for row in rows if row[0] == "TD3+BC")
    scores = [t["score_mean"] for t in results["trials"] if t["method"] == "TD3+BC" and t["status"] == "done"]
    assert model_free[3].startswith(f"{sum(scores) / len(scores):.1f} ±")
    assert model_free[4] == str(len(scores))
    means = [float(row[3].split()[0]) for row in rows]
    assert means == sorted(means, reverse=True)


def test_the_data_are_named_below(run):
    results = collect_results(run)
    last = markdown_summary(results).splitlines()[-1]
    assert results["data"]["source"] in last
    assert results["data"]["fingerprint"] in last
    assert "last checkpoint" in last

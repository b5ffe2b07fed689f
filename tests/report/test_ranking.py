"""Ranking of a run's methods and the sentences about it."""

import pytest

from dwm_ray.report.chart import Look
from dwm_ray.report.ranking import curve, method_rows, ranked, score_table, verdict, with_statistics


def row(name, *scores, **fields):
    return {"name": name, "runs": [{"score": score} for score in scores], **fields}


def test_each_method_has_its_best_setting_and_is_compared_with_its_model_free_agent(results):
    free, dwm = sorted(method_rows(results), key=lambda method: method["world_model"] or "")
    assert (free["setting"], free["num_settings"], free["improvement"]) == ("", 1, None)
    assert (dwm["num_settings"], dwm["num_runs"]) == (4, 2)
    assert dwm["setting"].startswith("horizon 5, target RTG ")
    means = {}
    for trial in results["trials"]:
        if trial["status"] == "done" and trial["world_model"]:
            means.setdefault(tuple(trial["values"].values()), []).append(trial["score_mean"])
    assert dwm["mean"]["value"] == pytest.approx(max(sum(found) / len(found) for found in means.values()))
    assert dwm["improvement"]["value"] == 1.0


def test_unfinished_trials_give_curves_but_no_scores(results):
    for trial in results["trials"]:
        trial["status"] = "running"
    rows = method_rows(results)
    assert [method["iqm"] for method in rows] == [None, None]
    assert verdict(rows) is None
    assert len(curve(rows[0], Look()).x) == 4


def test_the_best_method_is_first_and_methods_without_a_score_are_last():
    rows = with_statistics([[row("a", 1.0)], [row("b", None)], [row("c", 3.0, 2.0)]])
    assert [method["name"] for method in ranked(rows)] == ["c", "a", "b"]


def test_the_verdict_names_the_leads_and_whether_they_are_certain():
    rows = with_statistics([[row("base", 1.0, 2.0, 3.0)], [row("close", 8.5, 9.0, 9.5)], [row("best", 9.0, 9.2, 9.9)]])
    found = verdict(rows, "base")
    assert found["best"]["name"] == "best"
    runner_up, reference = found["leads"]
    assert (runner_up["over"], runner_up["doubt"]) == ("the runner-up, close", "not clearly separated")
    assert (reference["over"], reference["difference"], reference["doubt"]) == ("the reference, base", "+7.4", "")
    assert "75 %" in found["caution"]


def test_two_runs_each_are_too_few_to_be_sure():
    rows = with_statistics([[row("base", 1.0, 2.0)], [row("best", 8.0, 9.0)]])
    [lead] = verdict(rows, "base")["leads"]
    assert (lead["probability"], lead["doubt"]) == ("1.00", "too few runs to be sure")


def test_a_reference_that_is_the_runner_up_is_named_once():
    assert len(verdict(with_statistics([[row("base", 1.0)], [row("best", 2.0)]]), "base")["leads"]) == 1


@pytest.mark.parametrize(("num", "word"), [(1, "One run per method"), (7, "85 %"), (20, "")])
def test_few_runs_are_cautioned_about(num, word):
    found = verdict(with_statistics([[row("a", *map(float, range(num)))]]), "a")
    assert found["caution"] == "" if not word else word in found["caution"]


def test_the_table_has_settings_only_if_methods_have_some():
    plain = with_statistics([[row("a", 1.0)]])
    assert "setting" not in score_table("t", plain).headers
    assert "setting" in score_table("t", [plain[0] | {"setting": "horizon 5", "num_settings": 2}]).headers

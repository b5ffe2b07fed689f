import json
from pathlib import Path

import pytest
from rows import write_rows

from dwm_ray.experiment.names import method_name
from dwm_ray.report.chart import Style
from dwm_ray.report.collect import MAX_POINTS, collect_results
from dwm_ray.report.ranking import curve, method_rows, ranked, score_table, verdict, with_statistics


def _trial(results, trial_id):
    return next(trial for trial in results["trials"] if trial["id"] == trial_id)


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_run_facts_come_from_their_files(run):
    results = collect_results(run)
    assert (results["task"], results["profile"], results["wall_s"]) == ("halfcheetah-medium-replay", "laptop", 1834.2)
    assert results["score_unit"] == "normalised score"
    assert results["counters"]["segments_consumed"] == 700_000
    assert list(results["dropped"].values()) == [4]
    assert [stream["target_rtg"] for stream in results["streams"]] == [0.3, 0.5]
    assert json.loads(json.dumps(results)) == results


def test_trial_has_its_final_score_and_not_the_best_of_its_curve(run):
    path = run / "trials" / "dwm-h5-g0.5-s0" / "evaluations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["score_mean"] = 99.0
    write_rows(path, *rows)
    trial = _trial(collect_results(run), "dwm-h5-g0.5-s0")
    assert trial["score_mean"] == rows[-1]["score_mean"]
    assert (trial["episodes"], trial["checkpoint"], trial["method"]) == (10, "last", "DWM-TD3+BC")
    assert trial["values"] == {"horizon": 5, "target_rtg": 0.5}


def test_final_evaluation_replaces_the_curve_point_of_the_same_update(run):
    curve = _trial(collect_results(run), "free-h0-g0.0-s0")["curve"]
    assert curve["update"] == [5000, 10000, 15000, 20000]
    assert curve["score_std"][-1] == 1.5


def test_failed_trial_keeps_status_and_error_and_has_no_score(run):
    trial = _trial(collect_results(run), "dwm-h3-g0.5-s1")
    assert (trial["status"], trial["score_mean"], trial["updates"]) == ("failed", None, 10_000)
    assert "diverged" in trial["error"]


def test_running_trial_shows_how_far_its_log_says_it_is(run):
    folder = run / "trials" / "dwm-h5-g0.3-s0"
    (folder / "status.json").write_text('{"status": "running", "updates": 0}')
    trial = _trial(collect_results(run), folder.name)
    assert trial["updates"] == 20_000
    assert trial["seconds"] == pytest.approx(20_000 / 140)


def test_best_is_the_highest_finished_score(run):
    results = collect_results(run)
    scores = {trial["id"]: trial["score_mean"] for trial in results["trials"] if trial["status"] == "done"}
    assert results["best"]["id"] == max(scores, key=scores.__getitem__)
    (run / "trials" / results["best"]["id"] / "status.json").write_text('{"status": "running"}')
    assert collect_results(run)["best"]["id"] != results["best"]["id"]


def test_run_that_has_just_started_is_collected(tmp_path):
    (tmp_path / "config.json").write_text('{"run": {"task": "hopper-medium"}}')
    (tmp_path / "trials" / "a").mkdir(parents=True)
    results = collect_results(tmp_path)
    assert (results["trials"], results["best"], results["wall_s"]) == ([], None, None)


def test_trial_without_status_is_pending(run):
    (run / "trials" / "dwm-h5-g0.3-s0" / "status.json").unlink()
    assert _trial(collect_results(run), "dwm-h5-g0.3-s0")["status"] == "pending"


def test_half_written_last_row_is_left_out_and_a_broken_row_is_named(run):
    path = run / "trials" / "dwm-h5-g0.3-s0" / "metrics.jsonl"
    _append(path, '{"update": 210')
    assert _trial(collect_results(run), "dwm-h5-g0.3-s0")["learning"]["update"][-1] == 20_000
    _append(path, "}}\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: expected one JSON object per line"):
        collect_results(run)


def test_long_logs_are_thinned_and_keep_their_ends(run):
    path = run / "trials" / "free-h0-g0.0-s0" / "metrics.jsonl"
    write_rows(path, *({"update": i, "q_mean": 1.0} for i in range(1, 1001)))
    learning = _trial(collect_results(run), "free-h0-g0.0-s0")["learning"]
    updates = learning["update"]
    assert (len(updates), updates[0], updates[-1]) == (MAX_POINTS, 1, 1000)
    assert updates == sorted(set(updates))


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run folder"):
        collect_results(tmp_path)
    (tmp_path / "config.json").write_text('{"sweep": {}}')
    with pytest.raises(ValueError, match=r"config\.json: expected the configuration of a run"):
        collect_results(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: .*expected the JSON that a run writes"):
        collect_results(tmp_path)


@pytest.mark.parametrize(
    ("model", "agent", "name"),
    [
        (None, "td3_bc", "TD3+BC"),
        ("dwm", "td3_bc", "DWM-TD3+BC"),
        ("one_step", "iql", "OneStep-IQL"),
        ("my_model", "my_agent", "MyModel-MyAgent"),
    ],
)
def test_method_names(model, agent, name):
    assert method_name({"world_model": model and {"name": model}, "agent": {"name": agent}}) == name


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
    assert dwm["mean"]["value"] == pytest.approx(max(sum(result) / len(result) for result in means.values()))
    assert dwm["improvement"]["value"] == 1.0


def test_unfinished_trials_give_curves_but_no_scores(results):
    for trial in results["trials"]:
        trial["status"] = "running"
    rows = method_rows(results)
    assert [method["iqm"] for method in rows] == [None, None]
    assert verdict(rows) is None
    assert len(curve(rows[0], Style()).x) == 4


def test_the_best_method_is_first_and_methods_without_a_score_are_last():
    rows = with_statistics([[row("a", 1.0)], [row("b", None)], [row("c", 3.0, 2.0)]])
    assert [method["name"] for method in ranked(rows)] == ["c", "a", "b"]


def test_the_verdict_names_the_leads_and_whether_they_are_certain():
    rows = with_statistics([[row("base", 1.0, 2.0, 3.0)], [row("close", 8.5, 9.0, 9.5)], [row("best", 9.0, 9.2, 9.9)]])
    result = verdict(rows, "base")
    assert result["best"]["name"] == "best"
    runner_up, reference = result["leads"]
    assert (runner_up["over"], runner_up["doubt"]) == ("the runner-up, close", "not clearly separated")
    assert (reference["over"], reference["difference"], reference["doubt"]) == ("the reference, base", "+7.4", "")
    assert "75 %" in result["caution"]


def test_two_runs_each_are_too_few_to_be_sure():
    rows = with_statistics([[row("base", 1.0, 2.0)], [row("best", 8.0, 9.0)]])
    [lead] = verdict(rows, "base")["leads"]
    assert (lead["probability"], lead["doubt"]) == ("1.00", "too few runs to be sure")


def test_a_reference_that_is_the_runner_up_is_named_once():
    assert len(verdict(with_statistics([[row("base", 1.0)], [row("best", 2.0)]]), "base")["leads"]) == 1


@pytest.mark.parametrize(("num", "word"), [(1, "One run per method"), (7, "85 %"), (20, "")])
def test_few_runs_are_cautioned_about(num, word):
    result = verdict(with_statistics([[row("a", *map(float, range(num)))]]), "a")
    assert result["caution"] == "" if not word else word in result["caution"]


def test_the_table_has_settings_only_if_methods_have_some():
    plain = with_statistics([[row("a", 1.0)]])
    assert "setting" not in score_table("t", plain).headers
    assert "setting" in score_table("t", [plain[0] | {"setting": "horizon 5", "num_settings": 2}]).headers

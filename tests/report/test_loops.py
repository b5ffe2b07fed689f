"""What a log tells of a loop that follows the policy."""

from typing import Any

from dwm_ray.report.loops import HEADERS, loop_markdown, loop_of, loop_rows

ROW = {
    "policy_version": 4,
    "staleness": 0,
    "staleness_mean": 1.26,
    "learner_busy_fraction": 0.876,
    "sampler_busy_fraction": 0.5,
    "consumed_fraction": 0.98,
    "segments_imagined": 1200.0,
}


def results(*loops: Any) -> dict[str, Any]:
    trials = [{"method": "DyDiff-CQL", "id": f"trial{i}", "loop": loop} for i, loop in enumerate(loops)]
    return {"trials": trials}


def test_a_log_without_rounds_has_no_loop() -> None:
    assert loop_of([]) is None
    assert loop_of([{"update": 1, "q_mean": 3.0}]) is None
    assert loop_markdown(results(None)) == ""


def test_the_worst_age_is_that_of_the_whole_log_and_the_rest_is_the_last() -> None:
    loop = loop_of([{**ROW, "staleness": 2}, {**ROW, "consumed_fraction": 0.1}, ROW])
    assert loop is not None
    assert (loop["staleness"], loop["consumed_fraction"]) == (2, 0.98)


def test_a_row_a_trial() -> None:
    [cells] = loop_rows(results(None, loop_of([ROW])))
    assert cells == ["DyDiff-CQL", "trial1", "5", "0", "1.3", "88%", "50%", "98%", "1200"]
    assert len(cells) == len(HEADERS)
    assert loop_markdown(results(loop_of([ROW]))).splitlines()[2].startswith("| DyDiff-CQL | trial0 | 5 |")

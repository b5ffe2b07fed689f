import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dwm_ray.report.run_figures import by_method, run_figures, shared_scores
from dwm_ray.report.style import INK, PALETTE, Looks


def by_name(results):
    return {figure.name: figure for figure in run_figures(results)}


def test_all_figures_are_wellformed_svg_with_a_text_alternative(results):
    figures = by_name(results)
    assert list(figures) == ["curves", "axes", "errors", "calibration", "q", "losses"]
    for figure in figures.values():
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert len(root.get("aria-label")) > 20
        assert INK not in figure.svg


def test_ids_of_figures_on_one_page_do_not_clash(results):
    roots = [ElementTree.fromstring(figure.svg) for figure in run_figures(results)]
    ids = [element.get("id") for root in roots for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_same_results_give_the_same_bytes(results):
    assert run_figures(results) == run_figures(results)


@pytest.mark.parametrize(
    ("name", "remove"),
    [
        ("curves", lambda r: [t.update(curve={"update": [], "score_mean": [], "score_std": []}) for t in r["trials"]]),
        ("axes", lambda r: [t.update(values={}) for t in r["trials"]]),
        ("errors", lambda r: [m.update(error=None) for m in r["world_models"]]),
        ("calibration", lambda r: [m.update(calibration=None) for m in r["world_models"]]),
        ("q", lambda r: [t["learning"].update(q_mean=[None] * len(t["learning"]["update"])) for t in r["trials"]]),
        ("losses", lambda r: [m.update(learning={"update": [], "loss": []}) for m in r["world_models"]]),
    ],
)
def test_figure_without_data_is_left_out(results, name, remove):
    remove(results)
    names = list(by_name(results))
    assert name not in names
    assert len(names) == 5


def test_a_diverging_q_switches_to_a_logarithmic_axis(results):
    assert "10^{4}" in by_name(results)["q"].svg or "$\\mathdefault{10^{4}}$" in by_name(results)["q"].svg
    results["trials"] = [trial for trial in results["trials"] if trial["status"] == "done"]
    assert "10^{4}" not in by_name(results)["q"].svg


def test_looks_keep_color_for_the_world_model_and_line_for_the_agent():
    trials = [{"world_model": model, "agent": agent} for model in (None, "dwm") for agent in ("iql", "td3_bc")]
    looks = Looks(trials, [{"name": "one_step"}])
    iql, td3, dwm_iql, dwm_td3 = (looks.of(trial) for trial in trials)
    assert iql.color == td3.color == INK
    assert dwm_iql.color == dwm_td3.color == PALETTE[0]
    assert iql.linestyle == dwm_iql.linestyle != td3.linestyle == dwm_td3.linestyle
    assert looks.color("one_step") == PALETTE[1]


def test_means_are_taken_only_where_every_trial_was_evaluated():
    long = {"curve": {"update": [1, 2, 3], "score_mean": [1.0, 2.0, 3.0]}}
    short = {"curve": {"update": [1, 3], "score_mean": [5.0, 7.0]}}
    updates, scores = shared_scores([long, short])
    assert updates.tolist() == [1, 3]
    np.testing.assert_array_equal(scores, [[1.0, 3.0], [5.0, 7.0]])
    assert shared_scores([])[0].size == 0


def test_model_free_methods_come_first():
    trials = [{"world_model": "dwm", "method": "DWM-IQL"}, {"world_model": None, "method": "TD3+BC"}]
    assert [group[0]["method"] for group in by_method(trials)] == ["TD3+BC", "DWM-IQL"]

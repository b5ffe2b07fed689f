import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dwm_ray.report.panels import RunStyles
from dwm_ray.report.ranking import shared_scores
from dwm_ray.report.run_figures import by_method, futures, run_figures

NAMES = ["ranking", "curves", "axes", "errors", "futures", "calibration", "q", "losses"]


def test_all_figures_are_wellformed_svg_with_a_text_alternative(results):
    figures = run_figures(results)
    assert list(figures) == NAMES
    for figure in figures.values():
        for panel in figure.panels:
            root = ElementTree.fromstring(panel)
            assert root.get("role") == "img"
            assert len(root.get("aria-label")) > 20


def test_same_results_give_the_same_bytes(results):
    assert run_figures(results) == run_figures(results)


@pytest.mark.parametrize(
    ("name", "remove"),
    [
        ("curves", lambda r: [t.update(curve={"update": [], "score_mean": [], "score_std": []}) for t in r["trials"]]),
        ("axes", lambda r: [t.update(values={}) for t in r["trials"]]),
        ("errors", lambda r: [m.update(error=None) for m in r["world_models"]]),
        ("futures", lambda r: [m.update(futures=None) for m in r["world_models"]]),
        ("calibration", lambda r: [m.update(calibration=None) for m in r["world_models"]]),
        ("q", lambda r: [t["learning"].update(q_mean=[None] * len(t["learning"]["update"])) for t in r["trials"]]),
        ("losses", lambda r: [m.update(learning={"update": [], "loss": []}) for m in r["world_models"]]),
    ],
)
def test_figure_without_data_is_left_out(results, name, remove):
    remove(results)
    names = list(run_figures(results))
    assert name not in names
    assert len(names) == len(NAMES) - (2 if name == "curves" else 1), "without curves there is no ranking"


def test_a_diverging_q_switches_to_a_logarithmic_axis(results):
    assert ">1000<" in run_figures(results)["q"].panels[0]
    results["trials"] = [trial for trial in results["trials"] if trial["status"] == "done"]
    assert ">1000<" not in run_figures(results)["q"].panels[0]


def test_futures_have_one_recorded_line_and_a_fan_of_imagined_ones(results):
    figure = futures(results, RunStyles(results["trials"], results["world_models"]))
    assert len(figure.panels) == 2 * 3
    assert [label for label, _ in figure.legend] == ["imagined", "recorded"]
    assert figure.panels[0].count('class="l"') == 3 + 1
    assert "low return: state 8" in figure.panels[0]


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

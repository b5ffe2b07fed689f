"""The figures of a report, in reading order; one without data is left out."""

from __future__ import annotations

from typing import Any

from dwm_ray.report.learning_figures import learning_curves, model_losses, q_values
from dwm_ray.report.result_figures import axis_scores, model_errors
from dwm_ray.report.style import Figure, Looks

DRAWINGS = (learning_curves, axis_scores, model_errors, q_values, model_losses)


def draw_figures(results: dict[str, Any]) -> list[Figure]:
    """All figures that these results have data for, as inline SVG."""
    looks = Looks(results["trials"], results["world_models"])
    drawn = (draw(results, looks) for draw in DRAWINGS)
    return [figure for figure in drawn if figure is not None]

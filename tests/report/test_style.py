"""What all figures share."""

from __future__ import annotations

import pytest
from matplotlib.lines import Line2D

from dwm_ray.report.style import WIDTH, canvas, legend_above


@pytest.mark.parametrize(("label", "columns"), [("short", 4), ("first action and return-to-go, " * 2, 2)])
def test_a_legend_has_as_many_columns_as_the_figure_is_wide_enough_for(label: str, columns: int) -> None:
    with canvas(WIDTH, 3.0) as figure:
        height = figure.get_figheight()
        legend_above(figure, [Line2D([], [], label=label) for _ in range(8)])
        [legend] = figure.legends
        assert legend._ncols == columns
        assert legend.get_window_extent().width <= figure.bbox.width
        assert figure.get_figheight() > height

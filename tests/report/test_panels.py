"""Panels of lines: content, and equal looks of equal labels."""

from dwm_ray.report.panels import Line, Panel, _looks, plot_panels
from dwm_ray.report.style import INK


def panel(*lines: Line, title: str = "one", log: bool = False) -> Panel:
    return Panel(title, "step", "error", list(lines), log)


def test_a_figure_has_its_panels_and_names_every_line_once() -> None:
    lines = [Line("DWM", [1, 2], [0.1, None], "DWM"), Line("DWM, clone", [1, 2], [0.2, 0.3], "DWM")]
    figure = plot_panels("errors", "Errors", "A caption.", [panel(*lines), panel(lines[0], title="two")])
    assert (figure.name, figure.caption) == ("errors", "A caption.")
    assert 'aria-label="Errors: one, two"' in figure.svg
    assert figure.svg.count(">DWM, clone<") == 1
    assert INK not in figure.svg


def test_panels_without_lines_are_left_out() -> None:
    figure = plot_panels("errors", "Errors", "", [panel(Line("a", [1], [1.0])), panel(title="nothing")])
    assert "nothing" not in figure.svg


def test_lines_of_a_group_share_their_colour_and_differ_in_style() -> None:

    looks = _looks(
        [Line("a", [1], [1], "g"), Line("b", [1], [1], "g"), Line("c", [1], [1]), Line("r", [1], [1], "", True)]
    )
    assert looks["a"]["color"] == looks["b"]["color"] != looks["c"]["color"]
    assert looks["a"]["linestyle"] != looks["b"]["linestyle"]
    assert looks["r"]["color"] == INK
    assert "marker" not in looks["r"]


def test_a_panel_is_logarithmic_where_its_values_differ_widely() -> None:
    wide = plot_panels("a", "A", "", [panel(Line("x", [1, 2], [0.001, 1.0]), log=True)])
    narrow = plot_panels("a", "A", "", [panel(Line("x", [1, 2], [0.5, 1.0]), log=True)])
    crossing = plot_panels("a", "A", "", [panel(Line("x", [1, 2], [-0.5, 100.0]), log=True)])
    power = "mathdefault{10^{"
    assert (power in wide.svg, power in narrow.svg, power in crossing.svg) == (True, False, False)


def test_nearly_nothing_does_not_stretch_a_logarithmic_panel() -> None:
    svg = plot_panels("a", "A", "", [panel(Line("x", [1, 2, 3], [1e-14, 0.1, 1.0]), log=True)]).svg
    assert "{-12}" not in svg

"""Calibration of world models as a table and a figure, for the reports of runs and studies."""

from collections.abc import Sequence

from dwm_ray.evaluation.calibration import ENDS_TOLERANCE, MIN_ENDS, REWARDS_TOLERANCE
from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.chart import Line, Panel, Style
from dwm_ray.report.panels import Figure, RunStyles, plot_panels
from dwm_ray.report.table import NOTHING, Cell, Table, text
from dwm_ray.types import Json

QUANTITIES = {"ended": "fraction of ended segments", "reward": "mean reward of a step"}
ModelCalibration = tuple[str, Style, Json]
"""Name and style of a world model, and its calibration as in error.json."""
NOTE = (
    "Fraction of segments that have ended by the last step, and mean reward at that step (in brackets: recorded), each "
    f"with the largest difference over steps. Calibrated: fractions differ by at most {ENDS_TOLERANCE:.0%} of the "
    f"recorded ones and rewards by at most {REWARDS_TOLERANCE:.0%} of the mean absolute reward, at every step. "
    f"Fractions are compared only at steps by which at least {MIN_ENDS} segments have ended."
)


def model_calibrations(results: Json, styles: RunStyles) -> list[ModelCalibration]:
    """Return the world models of a run whose calibration was measured, with the styles of the run's figures."""
    models = [model for model in results["world_models"] if model["calibration"]]
    return [
        (world_model_label(model["name"]), styles.of_model(model["name"]), model["calibration"]) for model in models
    ]


def calibration_table(models: Sequence[ModelCalibration]) -> Table:
    """Return one row per world model, with a verdict."""
    rows: list[list[Cell]] = [[name, *_cells(numbers)] for name, _, numbers in models]
    headers = ["world model", "steps", "ended", "differs by", "last reward", "differs by", "verdict"]
    return Table("Calibration: imagined against recorded segments of the same starts", headers, rows, NOTE)


def _cells(numbers: Json) -> list[Cell]:
    ended, reward = ([numbers[side][name][-1] for side in ("imagined", "recorded")] for name in ("ended", "reward"))
    return [
        len(numbers["steps"]),
        "{:.1%} ({:.1%})".format(*ended),
        _percent(numbers["ends_difference"]),
        "{} ({})".format(*map(text, reward)),
        _percent(numbers["rewards_difference"]),
        verdict(numbers),
    ]


def _percent(difference: float | None) -> str:
    return NOTHING if difference is None else f"{difference:.1%}"


def verdict(numbers: Json) -> str:
    """Return 'calibrated', or the quantities that are not."""
    wrong = [name for name in ("ends", "rewards") if numbers[f"{name}_agree"] is False]
    return f"NOT calibrated: {' and '.join(wrong)}" if wrong else "calibrated"


def calibration_figure(models: Sequence[ModelCalibration]) -> Figure:
    """Plot both quantities by step, imagined and recorded; without models, the figure has no panels."""
    longest = max((numbers for *_, numbers in models), key=lambda numbers: len(numbers["steps"]), default=None)
    if longest is None:
        return plot_panels("calibration", "", "", [])
    panels = []
    for quantity, title in QUANTITIES.items():
        lines = [
            Line(name, numbers["steps"], numbers["imagined"][quantity], style=style) for name, style, numbers in models
        ]
        recorded = Line("recorded", longest["steps"], longest["recorded"][quantity], reference=True)
        if any(value for line in (*lines, recorded) for value in line.y):  # in many tasks, nothing ends
            panels.append(Panel(title, "step", "", [*lines, recorded]))
    caption = (
        f"From {longest['num_windows']} held-out starts, each with its own return-to-go. Steps that were not recorded "
        "count neither as alive nor as ended. Rewards are means over the segments that are alive at the step."
    )
    return plot_panels("calibration", "Calibration", caption, panels)

"""Calibration of world models as a table and a figure, for reports of runs and studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dwm_ray.evaluation.calibration import ENDS_TOLERANCE, FEWEST_ENDS, REWARDS_TOLERANCE
from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.style import INK, Figure, Looks, finish, panel_grid, step_axis
from dwm_ray.report.table import NOTHING, Cell, Table, text

RECORDED: dict[str, Any] = {"color": INK, "linestyle": "--", "alpha": 0.6}
QUANTITIES = {"ended": "share of segments that have ended", "reward": "mean reward of a step"}
NOTE = (
    "Share of segments that have ended by the last step, and mean reward at that step (in brackets: recorded), each "
    f"with the largest difference over steps. Calibrated: shares differ by at most {ENDS_TOLERANCE:.0%} of the recorded"
    f" share and rewards by at most {REWARDS_TOLERANCE:.0%} of the mean absolute reward, at every step. Shares are "
    f"compared only at steps by which at least {FEWEST_ENDS} segments have ended."
)


@dataclass(frozen=True)
class Calibrated:
    """Calibration of one world model, as in error.json, with its name and colour."""

    label: str
    color: str
    numbers: dict[str, Any]


def calibrated_models(results: dict[str, Any], looks: Looks) -> list[Calibrated]:
    """Return the world models of a run whose calibration was measured, in the colours of the run's figures."""
    models = [model for model in results["world_models"] if model["calibration"]]
    return [
        Calibrated(world_model_label(model["name"]), looks.color(model["name"]), model["calibration"])
        for model in models
    ]


def calibration_table(models: Sequence[Calibrated]) -> Table:
    """Return one row per world model, with a verdict."""
    rows: list[list[Cell]] = [[model.label, *_cells(model.numbers)] for model in models]
    headers = ["world model", "steps", "ended", "differs by", "last reward", "differs by", "verdict"]
    return Table("Calibration: imagined against recorded segments of the same starts", headers, rows, NOTE)


def _cells(numbers: dict[str, Any]) -> list[Cell]:
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


def verdict(numbers: dict[str, Any]) -> str:
    """Return 'calibrated', or the quantities that are not."""
    wrong = [name for name in ("ends", "rewards") if numbers[f"{name}_agree"] is False]
    return f"NOT calibrated: {' and '.join(wrong)}" if wrong else "calibrated"


def calibration_figure(models: Sequence[Calibrated]) -> Figure:
    """Plot both quantities by step, imagined and recorded, of at least one model."""
    longest = max(models, key=lambda model: len(model.numbers["steps"])).numbers
    caption = (
        f"From {longest['num_windows']} held-out starts, each with its own return-to-go. Steps that were not recorded "
        "count neither as alive nor as ended. Rewards are means over the segments that are alive at the step."
    )
    alt = f"Share of ended segments and mean reward by step of {len(models)} world models, and recorded"
    keys = [Line2D([], [], color=model.color, marker="o", label=model.label) for model in models]
    with panel_grid(list(QUANTITIES.values()), 2, 2.9) as (figure, panels):
        for axes, quantity in zip(panels, QUANTITIES, strict=True):
            for model in models:
                values = model.numbers["imagined"][quantity]
                axes.plot(model.numbers["steps"], _gaps(values), color=model.color, marker="o")
            axes.plot(longest["steps"], _gaps(longest["recorded"][quantity]), **RECORDED)
            step_axis(axes, "step")
        panels[0].set_ylim(bottom=0)
        panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        return finish(
            figure, "calibration", "Calibration", caption, alt, [*keys, Line2D([], [], label="recorded", **RECORDED)], 3
        )


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]

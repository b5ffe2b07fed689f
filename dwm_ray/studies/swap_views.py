"""Tables and figure of the study of recorded and imagined parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import mean, pstdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.report.style import INK, PALETTE, Figure, finish, panel_grid
from dwm_ray.report.table import Cell, Table, format_score
from dwm_ray.studies.swap_parts import Mix

SCORES_NOTE = (
    "Means over seeds, ± between seeds. Columns name the future that each part is taken from: recorded, imagined, "
    "continued (imagined from the recorded first step on) or shuffled (imagined with the return-to-go of another pair)."
)
VALUES_NOTE = (
    "Values of the trained agents in units of reward, means over seeds. ± and correlation are over the start pairs "
    "whose futures are both alive after the last step."
)
ADVANTAGES_NOTE = (
    "Advantage: discounted rewards, plus the value of the last state, minus that of the first, by the agents that "
    "learned from recorded futures. Slope: of its regression on their Q - V; below the recorded slope, targets lose a "
    "part of the action's effect. Ending: mean over start pairs whose recorded future ends the task."
)
FUTURES_NOTE = "Discounted sums of rewards over the segment. Correlation with the recorded sum is over start pairs."


@dataclass(frozen=True)
class Outcome:
    """Agents that learned from one composition."""

    mix: Mix
    scores: list[float | None]
    """Mean score of each seed; None if learning diverged."""
    recorded_value: float
    """Mean value of the recorded last states."""
    recorded_std: float
    """Standard deviation of these values over start pairs."""
    imagined_value: float
    imagined_std: float
    value_correlation: float
    advantages: dict[str, dict[str, float]]
    """Statistics by composition, under the values of these agents."""

    @property
    def score(self) -> tuple[float | None, float]:
        """Mean score and its standard deviation between seeds; (None, 0) if no seed has a score."""
        known = [score for score in self.scores if score is not None]
        return (mean(known), pstdev(known)) if known else (None, 0.0)


@dataclass(frozen=True)
class Comparison:
    """All compositions for one world model and agent."""

    method: str
    num_pairs: int
    futures: list[dict[str, Any]]
    outcomes: list[Outcome]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def tables(compared: list[Comparison]) -> list[Table]:
    return [table for one in compared for table in (_scores(one), _advantages(one), _values(one), _futures(one))]


def _scores(one: Comparison) -> Table:
    rows: list[list[Cell]] = [
        [outcome.mix.name, outcome.mix.rewards, outcome.mix.ends, outcome.mix.states, format_score(*outcome.score)]
        for outcome in one.outcomes
    ]
    headers = ["segments", "rewards", "ends", "states", "score"]
    return Table(f"{one.method}: scores by the parts of its targets", headers, rows, SCORES_NOTE)


def _advantages(one: Comparison) -> Table:
    rows: list[list[Cell]] = [
        [name, *(row[key] for key in ("std", "correlation", "slope", "ending"))]
        for name, row in one.outcomes[0].advantages.items()
    ]
    headers = ["segments", "standard deviation", "correlation with recorded", "slope", "ending"]
    return Table(f"{one.method}: advantages of start pairs", headers, rows, ADVANTAGES_NOTE)


def _values(one: Comparison) -> Table:
    rows: list[list[Cell]] = [
        [
            outcome.mix.name,
            f"{outcome.recorded_value:.1f} ± {outcome.recorded_std:.1f}",
            f"{outcome.imagined_value:.1f} ± {outcome.imagined_std:.1f}",
            outcome.value_correlation,
        ]
        for outcome in one.outcomes
    ]
    headers = ["learned from", "recorded last state", "imagined last state", "correlation"]
    return Table(f"{one.method}: values of last states", headers, rows, VALUES_NOTE)


def _futures(one: Comparison) -> Table:
    headers = ["future", "reward sum", "standard deviation", "correlation", "ended", "ended in both"]
    rows: list[list[Cell]] = [
        [
            future["future"],
            *(future[f"reward_sum{part}"] for part in ("", "_std", "_correlation")),
            *(f"{future[name]:.2%}" for name in ("ended", "ended_in_both")),
        ]
        for future in one.futures
    ]
    return Table(f"{one.method}: futures", headers, rows, FUTURES_NOTE)


def figures(compared: list[Comparison]) -> list[Figure]:
    """Plot, for each method, scores and values by composition."""
    return [_figure(f"swap-{i}", one) for i, one in enumerate(compared)]


def _figure(name: str, one: Comparison) -> Figure:
    caption = (
        "Rows are the segments that agents learned from. Left: points are seeds, bars their means. Right: mean value "
        "that these agents give to the last states of recorded and imagined futures."
    )
    keys = [
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=11, label="mean score"),
        Line2D([], [], color=INK, marker="o", linestyle="", label="recorded last state"),
        Line2D([], [], color=PALETTE[1], marker="s", linestyle="", label="imagined last state"),
    ]
    with panel_grid(["score", "value of the last state"], 2, 3.2) as (figure, (scores, values)):
        _plot_scores(scores, one)
        for attribute, key in zip(("recorded_value", "imagined_value"), keys[1:], strict=True):
            marks = {"color": key.get_color(), "marker": key.get_marker(), "linestyle": ""}
            values.plot([getattr(outcome, attribute) for outcome in one.outcomes], range(len(one.outcomes)), **marks)
        for axes in (scores, values):
            axes.set_yticks(range(len(one.outcomes)), [outcome.mix.name for outcome in one.outcomes])
            axes.invert_yaxis()
            axes.grid(axis="x")
        values.set_yticklabels([])
        return finish(figure, name, f"{one.method}: parts of the targets", caption, f"{name}: {caption}", keys, 3)


def _plot_scores(axes: Axes, one: Comparison) -> None:
    for place, outcome in enumerate(one.outcomes):
        known = [score for score in outcome.scores if score is not None]
        axes.plot(known, [place] * len(known), "o", color=PALETTE[0], alpha=0.5)
        axes.plot([mean(known)] * bool(known), [place] * bool(known), "|", color=INK, markersize=14, markeredgewidth=2)

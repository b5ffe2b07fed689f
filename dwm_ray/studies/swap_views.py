"""Tables and figure of the study of recorded and imagined parts."""

from dataclasses import asdict, dataclass
from statistics import mean, pstdev
from typing import Any

from dwm_ray.report.panels import Figure, Line, Look, Panel, plot_panels
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
    "part of the action's effect. Ending: mean over start pairs whose recorded future ends the task. Second sample: "
    "another future by the same model; a perfect model correlates with the recording as with its second sample."
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
        [name, *(row[key] for key in ("std", "correlation", "sample_correlation", "slope", "ending"))]
        for name, row in one.outcomes[0].advantages.items()
    ]
    headers = ["segments", "standard deviation", "correlation with recorded", "with imagined", "slope", "ending"]
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
        "Rows are the segments that agents learned from. Scores: small points are seeds, large ones means. Values: the "
        "mean value that these agents assign to the last states of recorded (ink) and imagined (colour) futures."
    )
    rows = range(len(one.outcomes))
    names = [outcome.mix.name for outcome in one.outcomes]
    scores = [line for row, outcome in zip(rows, one.outcomes, strict=True) for line in _scores_of(row, outcome)]
    recorded, imagined = (
        Line(label, [getattr(outcome, attribute) for outcome in one.outcomes], rows, look=look, connected=False)
        for label, attribute, look in (
            ("recorded last state", "recorded_value", Look()),
            ("imagined last state", "imagined_value", Look(1, marker=1)),
        )
    )
    panels = [
        Panel("score", "score", "", scores, ynames=names),
        Panel("value of the last state", "value", "", [recorded, imagined], ynames=names),
    ]
    return plot_panels(name, f"{one.method}: parts of the targets", caption, panels, values=False)


def _scores_of(row: int, outcome: Outcome) -> list[Line]:
    known = [score for score in outcome.scores if score is not None]
    seeds = Line("seeds", known, [row] * len(known), look=Look(0), connected=False, faint=True)
    return [seeds, Line("mean score", [mean(known)], [row], look=Look(0), connected=False)] if known else []

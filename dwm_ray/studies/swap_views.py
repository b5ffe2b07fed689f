"""Tables of the study of recorded and imagined parts."""

from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Any

from dwm_ray.report.table import Cell, Table, format_score
from dwm_ray.studies.swap_parts import Mix

SCORES_NOTE = (
    "Means over seeds, ± between seeds. Columns name the future that each part is taken from: recorded, imagined, "
    "continued (imagined from the recorded first step on) or shuffled (imagined with the return-to-go of another pair)."
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


def tables(compared: list[Comparison]) -> list[Table]:
    return [table for one in compared for table in (_scores(one), _advantages(one), _futures(one))]


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

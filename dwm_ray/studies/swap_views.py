"""Tables of the study of recorded and imagined parts."""

from statistics import mean, pstdev

from dwm_ray.report.table import Cell, Table, format_score
from dwm_ray.types import Json

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


def tables(compared: list[Json]) -> list[Table]:
    """Return the tables of all world models and agents, from the numbers of the study."""
    return [table for one in compared for table in (_scores(one), _advantages(one), _futures(one))]


def _scores(one: Json) -> Table:
    rows: list[list[Cell]] = []
    for outcome in one["outcomes"]:
        known = [score for score in outcome["scores"] if score is not None]  # None: learning diverged
        score = format_score(mean(known), pstdev(known)) if known else format_score(None, None)
        rows.append([*outcome["mix"].values(), score])
    headers = ["segments", "rewards", "ends", "states", "score"]
    return Table(f"{one['method']}: scores by the parts of its targets", headers, rows, SCORES_NOTE)


def _advantages(one: Json) -> Table:
    rows: list[list[Cell]] = [
        [name, *(row[key] for key in ("std", "correlation", "sample_correlation", "slope", "ending"))]
        for name, row in one["outcomes"][0]["advantages"].items()
    ]
    headers = ["segments", "standard deviation", "correlation with recorded", "with imagined", "slope", "ending"]
    return Table(f"{one['method']}: advantages of start pairs", headers, rows, ADVANTAGES_NOTE)


def _futures(one: Json) -> Table:
    headers = ["future", "reward sum", "standard deviation", "correlation", "ended", "ended in both"]
    rows: list[list[Cell]] = [
        [
            future["future"],
            *(future[f"reward_sum{part}"] for part in ("", "_std", "_correlation")),
            *(f"{future[name]:.2%}" for name in ("ended", "ended_in_both")),
        ]
        for future in one["futures"]
    ]
    return Table(f"{one['method']}: futures", headers, rows, FUTURES_NOTE)

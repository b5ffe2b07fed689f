"""Page about a dataset: contradictions, and plots of returns, lengths, actions and rewards."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Line, Panel, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.types import Episodes, Json

MAX_POINTS = 300
"""Maximum number of episodes per plot; larger datasets are thinned evenly."""
BINS = 40


def data_findings(episodes: Episodes, facts: Json) -> Findings:
    """Return the tables and figures of a dataset; `facts` is its `data_summary`."""
    summary = [
        f"{facts['source']}, {facts['env_id'] or 'no environment'}, {episodes.num_transitions:,} transitions in "
        f"{episodes.num_episodes:,} episodes.",
        *facts["notes"],
    ]
    rows: list[list[Cell]] = [[finding.text, finding.rows] for finding in episodes.card.findings]
    checks = Table("Contradictions in the file and their repairs", ["finding", "number"], rows or [["none", 0]])
    return Findings(f"Data {facts['name']}", summary, [checks, _entries(episodes)], _figures(episodes))


def _entries(episodes: Episodes) -> Table:
    """Return the range of each entry; constant entries carry no information."""
    spaces, act = episodes.spaces, episodes.act
    low, high = np.array(spaces.act_low, np.float32), np.array(spaces.act_high, np.float32)
    saturated = ((act <= low) | (act >= high)).mean(0)
    lengths = np.diff(episodes.offsets)
    rows = [
        *_rows("observation", episodes.obs, [None] * spaces.obs_size),
        *_rows("action", act, [f"{100 * fraction:.0f} %" for fraction in saturated]),
        *_rows("reward", episodes.rew[:, None], [None]),
        *_rows("episode length", lengths[:, None], [None]),
    ]
    headers = ["quantity", "minimum", "mean", "maximum", "standard deviation", "at the bounds"]
    constant = sum(row[1] == row[3] for row in rows[: spaces.obs_size])
    note = f"{constant} of {spaces.obs_size} entries of observations never vary." if constant else ""
    return Table("Range of each quantity", headers, rows, note)


def _rows(name: str, values: np.ndarray, last: Iterable[Cell]) -> list[list[Cell]]:
    columns = zip(values.min(0), values.mean(0, dtype=np.float64), values.max(0), values.std(0), last, strict=True)
    return [
        [f"{name} {i}" if values.shape[1] > 1 else name, *map(float, column[:4]), column[4]]
        for i, column in enumerate(columns)
    ]


def _figures(episodes: Episodes) -> list[Any]:
    returns, lengths = episodes.returns(), np.diff(episodes.offsets)
    shown = np.unique(np.linspace(0, len(returns) - 1, MAX_POINTS).astype(int))
    spaces = episodes.spaces
    entries = np.arange(spaces.act_size).tolist()
    low, middle, high = np.quantile(episodes.act, (0.05, 0.5, 0.95), axis=0).tolist()
    counts, edges = np.histogram(episodes.rew.astype(np.float64), bins=BINS)
    rewards = Line("rows", ((edges[1:] + edges[:-1]) / 2).tolist(), counts.astype(float).tolist())
    actions = [
        Line("median, and 90 % of the rows", entries, middle, band=(low, high)),
        Line("bounds", entries, list(spaces.act_low), reference=True),
        Line("bounds", entries, list(spaces.act_high), reference=True),
    ]
    panels = [
        Panel("Returns", "episode", "undiscounted return", [_points("episode", shown, returns[shown])]),
        Panel("Lengths", "episode", "steps", [_points("episode", shown, lengths[shown])]),
        Panel("Actions", "", "value", actions, xnames=[str(entry) for entry in entries]),
        Panel("Rewards", "reward", "rows", [rewards]),
    ]
    caption = (
        "Episodes in file order; every n-th one if there are more than 300. Actions by entry; rewards as a histogram."
    )
    return [plot_panels("data", "Returns, lengths, actions and rewards", caption, panels, values=False)]


def _points(label: str, x: np.ndarray, y: np.ndarray) -> Line:
    return Line(label, x.tolist(), y.astype(float).tolist(), connected=False)

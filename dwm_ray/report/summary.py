"""Results by method, over seeds, as Markdown: the table that goes into a README, with what a score needs beside it."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from dwm_ray.report.table import NOTHING, dimensions, format_count, format_score, format_seconds, label

Json = dict[str, Any]


def markdown_summary(results: Json) -> str:
    """One row per method and point of the search, best first; mean and standard deviation are over seeds of the mean
    over episodes (last checkpoint), and over episodes where there is one seed."""
    axes = dimensions(results["trials"])
    groups = _groups(results["trials"], axes)
    head = ["method", *map(label, axes), results["score_unit"], "seeds", "episodes", "updates", "learner time"]
    rows = sorted((_row(trials, axes) for trials in groups), key=lambda row: -row[0])
    lines = [head, ["---"] * len(head), *(cells for _, cells in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n\n" + _source(results)


def _groups(trials: list[Json], axes: list[str]) -> list[list[Json]]:
    """Finished trials that differ by seed alone."""
    groups: dict[tuple[Any, ...], list[Json]] = defaultdict(list)
    for trial in trials:
        if trial["status"] == "done":
            groups[(trial["method"], *(trial["values"].get(axis) for axis in axes))].append(trial)
    return list(groups.values())


def _row(trials: list[Json], axes: list[str]) -> tuple[float, list[str]]:
    scores = [trial["score_mean"] for trial in trials]
    mean = sum(scores) / len(scores)
    std = trials[0]["score_std"] if len(scores) == 1 else math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    seconds = sum(trial["seconds"] for trial in trials) / len(trials)
    first = trials[0]
    cells = [
        first["method"],
        *(str(first["values"].get(axis, NOTHING)) for axis in axes),
        format_score(mean, std),
        str(len(trials)),
        format_count(first["episodes"]),
        format_count(first["updates"]),
        format_seconds(seconds),
    ]
    return mean, cells


def _source(results: Json) -> str:
    data = results["data"]
    return (
        f"Task {results['task']}: {data['source']}, {data['transitions']} transitions, {data['episodes']} episodes, "
        f"{data['env_id']}, fingerprint {data['fingerprint']}. Scores are of the last checkpoint."
    )

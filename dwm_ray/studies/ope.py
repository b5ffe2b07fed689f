"""Quality of off-policy estimates: how well they rank policies whose scores in a simulator are known.

The policies are those of finished runs on one dataset, with the scores that the runs recorded. Each estimate is made as
for data without an environment. Reported are Spearman's rank correlation with the scores and the regret at 1, the
difference between the best score and that of the policy with the highest estimate (DOPE, arXiv 2103.16596, section 4).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.evaluation.off_policy import OffPolicyEvaluator, estimation_config
from dwm_ray.experiment.names import method_name
from dwm_ray.options import PositiveInt
from dwm_ray.report.chart import Line, Panel
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.row_log import read_rows
from dwm_ray.studies.base import Study, StudyContext, StudyOptions
from dwm_ray.training.stores import has_policy, load_agent

CRITERIA = {
    "FQE": lambda row: row["estimate_fqe"],
    "FQE, minus the spread of critics": lambda row: row["estimate_fqe"] - row["estimate_fqe_spread"],
    "imagined return": lambda row: row["estimate_model"],
    "imagined return, minus the spread of models": lambda row: row["estimate_model"] - row["estimate_model_spread"],
    "closeness to the data (minus distance)": lambda row: -row["estimate_distance"],
}
"""Criterion -> function of an evaluation row whose value ranks the policies, highest first."""


class OpeOptions(StudyOptions):
    """Options of the study."""

    others: tuple[str, ...] = ()
    """Further run folders on the same data whose policies are ranked together with those of --run."""
    max_policies: PositiveInt = 30
    """Maximum number of policies. If there are more, those at evenly spaced ranks by score are used."""
    estimate_updates: PositiveInt = 500
    """Updates of the critics per policy."""
    estimate_model_updates: PositiveInt = 1500
    """Updates of the one-step models."""


@dataclass(frozen=True)
class Scored:
    """A policy with its score in the simulator."""

    folder: Path
    method: str
    updates: int
    score: float


def measure(context: StudyContext, options: OpeOptions) -> Findings:
    """Compare estimated values of the policies with their scores; raise ValueError for fewer than three policies."""
    found = _policies(context, options)
    ranks = np.linspace(0, len(found) - 1, min(options.max_policies, len(found))).round().astype(int)
    policies = [found[rank] for rank in ranks]
    if len(policies) < 3:
        raise ValueError(f"--run, --others: {len(policies)} scored policies on these data; expected at least three")
    rows = _estimates(context, options, policies)
    unit = context.task_data.task.score_unit
    return Findings(
        title=f"Off-policy estimates: {context.config.task}",
        summary=[
            f"{len(policies)} policies with {unit}s from {policies[-1].score:.1f} to {policies[0].score:.1f}, "
            f"{rows[0]['estimate_episodes']} held-out episodes, {options.estimate_updates} critic updates, "
            f"{np.mean([row['estimate_s'] for row in rows]):.0f} s per policy."
        ],
        tables=[_quality_table(policies, rows), _policy_table(policies, rows, unit)],
        figures=[_figure(policies, rows, unit)],
        numbers={"policies": [{**vars(p), "folder": str(p.folder), **r} for p, r in zip(policies, rows, strict=True)]},
    )


def _policies(context: StudyContext, options: OpeOptions) -> list[Scored]:
    """Return the finished policies of all runs, best score first; raise ValueError for runs on other data."""
    found = []
    for where in [options.run, *options.others]:
        if where is None:
            raise ValueError("--run: is missing; expected a run with scored policies")
        run = RunFolder.open(where)
        run.pull(run.root / "trials", weights=True)
        data = (read_json(run.root / "data.json") or {}).get("fingerprint")
        if data != context.task_data.episodes.card.fingerprint:
            raise ValueError(f"{where}: learned from other data; expected a run on the data of --run")
        found += [policy for trial in run.trials() if (policy := _scored(trial)) is not None]
    return sorted(found, key=lambda policy: -policy.score)


def _scored(trial: Path) -> Scored | None:
    final = [row for row in read_rows(trial / "evaluations.jsonl") if row.get("final") and "score_mean" in row]
    config = read_json(trial / "config.json")
    if not final or config is None or not has_policy(trial):
        return None
    return Scored(trial, method_name(config), final[-1]["update"], final[-1]["score_mean"])


def _estimates(context: StudyContext, options: OpeOptions, policies: list[Scored]) -> list[dict[str, Any]]:
    names = ("estimate_updates", "estimate_model_updates")
    config = context.config.with_values({f"evaluation.{name}": getattr(options, name) for name in names})
    model = context.trained(estimation_config(config))
    data, rows = LoggedData.of(config, context.task_data, context.device), []
    for number, policy in enumerate(policies, 1):
        agent, _ = load_agent(policy.folder / "checkpoint", context.device)
        rows.append(OffPolicyEvaluator(config, data, model).evaluate(agent, final=True))
        context.log(f"policy {number} of {len(policies)}: score {policy.score:.1f}, FQE {rows[-1]['estimate_fqe']:.1f}")
    return rows


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation of x [n] and y [n]; tied values have their mean rank."""
    return float(np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())[0, 1])


def _quality_table(policies: list[Scored], rows: list[dict[str, Any]]) -> Table:
    scores = np.array([policy.score for policy in policies])
    cells: list[list[Cell]] = []
    for name, criterion in CRITERIA.items():
        values = np.array([criterion(row) for row in rows])
        chosen = scores[values.argmax()]
        fraction = (scores.max() - chosen) / (np.ptp(scores) or 1.0)
        cells.append(
            [name, rank_correlation(values, scores), f"{chosen:.1f}", f"{scores.max() - chosen:.1f}", f"{fraction:.0%}"]
        )
    headers = ["ranked by", "rank correlation", "score of the choice", "regret at 1", "of the range"]
    note = (
        f"Best score {scores.max():.1f}; a random choice has an expected regret of {scores.max() - scores.mean():.1f}."
    )
    return Table("Ranking of policies by estimates", headers, cells, note)


def _policy_table(policies: list[Scored], rows: list[dict[str, Any]], unit: str) -> Table:
    names = ("fqe", "fqe_low", "fqe_high", "fqe_spread", "model", "model_spread", "distance")
    cells: list[list[Cell]] = [
        [policy.method, policy.updates, policy.score, *(row[f"estimate_{name}"] for name in names)]
        for policy, row in zip(policies, rows, strict=True)
    ]
    headers = ["method", "updates", unit, "FQE", "low", "high", "± critics", "imagined", "± models", "distance"]
    return Table("Policies, best score first: simulator next to estimates", headers, cells)


def _figure(policies: list[Scored], rows: list[dict[str, Any]], unit: str) -> Any:
    scores = [policy.score for policy in policies]
    panels = [
        Panel(name, title, unit, [Line("policy", [row[name] for row in rows], scores, connected=False)])
        for name, title in (
            ("estimate_fqe", "estimated value (FQE)"),
            ("estimate_model", "imagined return"),
            ("estimate_distance", "distance from the data"),
        )
    ]
    return plot_panels("estimates", "Score by estimate", "One point per policy.", panels)


STUDY = Study(OpeOptions, measure)

"""Quality of off-policy estimates: how well they rank policies whose scores in a simulator are known.

The policies are those of finished runs on one dataset, with the scores that the runs recorded. Each estimate is made as
for data without an environment. Reported are Spearman's rank correlation with the scores and the regret at 1, the
difference between the best score and that of the policy with the highest estimate (DOPE, arXiv 2103.16596, section 4).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.evaluation.off_policy import OffPolicyEvaluator, estimation_config
from dwm_ray.experiment.names import method_name
from dwm_ray.options import PositiveInt
from dwm_ray.report.chart import Line, Panel
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.runs.row_log import read_rows
from dwm_ray.studies.base import Study, StudyContext, StudyOptions
from dwm_ray.training.stores import has_policy, load_agent
from dwm_ray.types import Json

CRITERIA = {
    "FQE": "estimate_fqe",
    "FQE, minus the spread of critics": "estimate_fqe - estimate_fqe_spread",
    "imagined return": "estimate_model",
    "imagined return, minus the spread of models": "estimate_model - estimate_model_spread",
    "closeness to the data (minus distance)": "-estimate_distance",
}
"""Criterion -> expression of evaluation columns that ranks the policies, highest first."""


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


def measure(context: StudyContext, options: OpeOptions) -> Findings:
    """Compare estimated values of the policies with their scores; raise ValueError for fewer than three policies."""
    candidates = _policies(context, options)
    ranks = np.linspace(0, len(candidates) - 1, min(options.max_policies, len(candidates))).round().astype(int)
    policies = [candidates[rank] for rank in ranks]
    if len(policies) < 3:
        raise ValueError(f"--run, --others: {len(policies)} scored policies on these data; expected at least three")
    rows = pd.DataFrame(_estimates(context, options, policies))
    unit, scores = context.task_data.task.score_unit, rows["score"]
    return Findings(
        title=f"Off-policy estimates: {context.config.task}",
        summary=[
            f"{len(rows)} policies with {unit}s from {scores.iloc[-1]:.1f} to {scores.iloc[0]:.1f}, "
            f"{rows['estimate_episodes'].iloc[0]} held-out episodes, {options.estimate_updates} critic updates, "
            f"{rows['estimate_s'].mean():.0f} s per policy."
        ],
        tables=[_quality_table(rows), _policy_table(rows, unit)],
        figures=[_figure(rows, unit)],
        numbers={"policies": rows.to_dict("records")},
    )


def _policies(context: StudyContext, options: OpeOptions) -> list[Json]:
    """Return the finished policies of all runs, best score first; raise ValueError for runs on other data."""
    policies = []
    for address in [options.run, *options.others]:
        if address is None:
            raise ValueError("--run: is missing; expected a run with scored policies")
        run = RunFolder.open(address)
        run.pull(run.root / "trials", weights=True)
        data = (read_json(run.root / "data.json") or {}).get("fingerprint")
        if data != context.task_data.episodes.card.fingerprint:
            raise ValueError(f"{address}: learned from other data; expected a run on the data of --run")
        policies += [policy for trial in run.trials() if (policy := _scored(trial)) is not None]
    return sorted(policies, key=lambda policy: -policy["score"])


def _scored(trial: Path) -> Json | None:
    final = [row for row in read_rows(trial / "evaluations.jsonl") if row.get("final") and "score_mean" in row]
    config = read_json(trial / "config.json")
    if not final or config is None or not has_policy(trial):
        return None
    last = {"updates": final[-1]["update"], "score": final[-1]["score_mean"]}
    return {"folder": str(trial), "method": method_name(config), **last}


def _estimates(context: StudyContext, options: OpeOptions, policies: list[Json]) -> list[Json]:
    """Return the policies with their estimates."""
    names = ("estimate_updates", "estimate_model_updates")
    config = context.config.with_values({f"evaluation.{name}": getattr(options, name) for name in names})
    model = context.trained(estimation_config(config))
    data, rows = LoggedData.of(config, context.task_data, context.device), []
    for number, policy in enumerate(policies, 1):
        agent, _ = load_agent(Path(policy["folder"]) / "checkpoint", context.device)
        rows.append(policy | OffPolicyEvaluator(config, data, model).evaluate(agent, final=True))
        scores = f"score {policy['score']:.1f}, FQE {rows[-1]['estimate_fqe']:.1f}"
        context.log(f"policy {number} of {len(policies)}: {scores}")
    return rows


def rank_correlation(x: pd.Series, y: pd.Series) -> float:
    """Return Spearman's rank correlation of x [n] and y [n]; tied values have their mean rank."""
    return float(x.rank().corr(y.rank()))


def _quality_table(rows: pd.DataFrame) -> Table:
    scores = rows["score"]
    cells: list[list[Cell]] = []
    for name, criterion in CRITERIA.items():
        values = rows.eval(criterion)
        selected = scores[values.idxmax()]
        regret, span = scores.max() - selected, np.ptp(scores) or 1.0
        correlation = rank_correlation(values, scores)
        cells.append([name, correlation, f"{selected:.1f}", f"{regret:.1f}", f"{regret / span:.0%}"])
    headers = ["ranked by", "rank correlation", "score of the choice", "regret at 1", "of the range"]
    note = (
        f"Best score {scores.max():.1f}; a random choice has an expected regret of {scores.max() - scores.mean():.1f}."
    )
    return Table("Ranking of policies by estimates", headers, cells, note)


def _policy_table(rows: pd.DataFrame, unit: str) -> Table:
    names = ("fqe", "fqe_low", "fqe_high", "fqe_spread", "model", "model_spread", "distance")
    cells = rows[["method", "updates", "score", *(f"estimate_{name}" for name in names)]].to_numpy(object).tolist()
    headers = ["method", "updates", unit, "FQE", "low", "high", "± critics", "imagined", "± models", "distance"]
    return Table("Policies, best score first: simulator next to estimates", headers, cells)


def _figure(rows: pd.DataFrame, unit: str) -> Figure:
    titles = {
        "estimate_fqe": "estimated value (FQE)",
        "estimate_model": "imagined return",
        "estimate_distance": "distance from the data",
    }
    scores = rows["score"].tolist()
    panels = [
        Panel(name, title, unit, [Line("policy", rows[name].tolist(), scores, connected=False)])
        for name, title in titles.items()
    ]
    return plot_panels("estimates", "Score by estimate", "One point per policy.", panels)


STUDY = Study(OpeOptions, measure)

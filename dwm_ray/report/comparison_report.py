"""The report of a comparison: comparison.json, one HTML page and tables for terminals.

A method has the same colour and marker in all figures, according to its position in the list.
"""

from pathlib import Path

from dwm_ray.report.chart import DASHES, NUM_COLORS, Panel, Style
from dwm_ray.report.comparison import NORMALISED, collect_comparison
from dwm_ray.report.page import render_page
from dwm_ray.report.panels import Figure, plot_panels
from dwm_ray.report.ranking import CURVES, curve, ranked, ranking_figure, score_table, verdict
from dwm_ray.report.table import NOTHING, Cell, Table, format_count, format_seconds
from dwm_ray.runs.files import write_atomically
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.tasks.table import ESTIMATED
from dwm_ray.types import Json

ESTIMATES_NOTE = (
    "Tasks without an environment have no scores: their numbers are off-policy estimates (fitted Q evaluation) of the "
    "discounted return."
)


def _costs(costs: Json) -> list[Cell]:
    rate, policy, memory = costs["updates_per_s"], costs["policy_ms"], costs["max_rss_bytes"]
    return [
        format_seconds(costs["learner_s"]),
        NOTHING if rate is None else f"{rate:.0f}",
        format_seconds(costs["world_model_s"]),
        format_seconds(costs["sampling_s"]),
        NOTHING if policy is None else f"{policy:.2g}",
        NOTHING if memory is None else f"{memory / 1e6:.0f} MB",
    ]


def task_tables(task: Json) -> list[Table]:
    """Return scores, the highest first, and costs (`comparison._costs`) of one task."""
    headers = ["method", "learner", "updates/s", "world model", "sampling", "policy ms/step", "peak memory"]
    costs = [[method["name"], *_costs(method["costs"])] for method in task["methods"]]
    return [
        score_table(f"{task['task']}: {task['score_unit']} of the last checkpoint", ranked(task["methods"])),
        Table(f"{task['task']}: cost per run on this machine", headers, costs),
    ]


def all_tables(comparison: Json) -> list[Table]:
    """Return the tables of every task, then the statistics over all tasks."""
    tables = [table for task in comparison["tasks"] for table in task_tables(task)]
    return [*tables, *([score_table("all tasks", comparison["all_tasks"])] if comparison["all_tasks"] else [])]


def failures(comparison: Json) -> list[str]:
    """Return one line per run without a score: task, method, seed, status and cause."""
    return [
        f"{task['task']}, {method['name']}, seed {run['seed']}: {run['status']}"
        + (f" ({run['error']})" if run["error"] else "")
        for task in comparison["tasks"]
        for method in task["methods"]
        for run in method["runs"]
        if run["score"] is None
    ]


def markdown(comparison: Json) -> str:
    """Return all tables as Markdown, with the data, updates, seeds and checkpoint of the scores."""
    paragraphs = []
    for task in comparison["tasks"]:
        scores, costs = task_tables(task)
        paragraphs += [f"**{task['task']}**, {task['score_unit']}", scores.markdown(), costs.markdown(), source(task)]
    if comparison["all_tasks"]:
        paragraphs += ["**all tasks**", score_table("", comparison["all_tasks"]).markdown()]
    return "\n\n".join([*paragraphs, *failures(comparison), " ".join(notes(comparison))])


def notes(comparison: Json) -> list[str]:
    """Return explanations of the columns and their limits."""
    estimated = any(task["score_unit"] == ESTIMATED for task in comparison["tasks"])
    return [
        *([ESTIMATES_NOTE] if estimated else []),
        "Scores are of the last checkpoint; the score of a run is its mean over episodes.",
        "IQM: interquartile mean over runs.",
        f"P(better): probability that a run scores higher than a run of {comparison['reference']}.",
        "Intervals are percentile bootstraps over runs. They are too narrow for few runs: a nominal 95 % interval "
        "covers about 75 % with 3 runs and 85 % with 5.",
        "Runs of a method share its world model, so intervals exclude the randomness of its training.",
        "Learner: time of one run, including evaluations. World model and sampling: time of the parts that all runs "
        "of the method share.",
        "Runs without a score are excluded, which favours methods whose runs diverged.",
    ]


def source(task: Json) -> str:
    """Return the data, profile, updates, seeds and episodes of the scores of a task."""
    data, seeds = task["data"], f"{task['seeds']} seed{'' if task['seeds'] == 1 else 's'}"
    measured = "off-policy estimates" if task["score_unit"] == ESTIMATED else f"{task['episodes']} episodes"
    batches = " or ".join(map(str, task["batch_sizes"]))
    return (
        f"{data['source']}, {format_count(data['transitions'])} transitions in {format_count(data['episodes'])} "
        f"episodes of {data['env_id'] or 'no environment'} (fingerprint {data['fingerprint']}); "
        f"profile {task['profile']}, {format_count(task['updates'])} updates of batches of {batches}, {seeds}, "
        f"{measured} per run, last checkpoint."
    )


def comparison_figures(comparison: Json) -> list[Figure]:
    """Return all figures with finished runs, in reading order."""
    return [figure for plot in (ranking, curves) if (figure := plot(comparison)).panels]


def style(i: int) -> Style:
    """Return the style of the method at position `i`; the first 24 differ."""
    return Style(i % NUM_COLORS, i // NUM_COLORS % len(DASHES), i % len(DASHES))


def styles_by_name(comparison: Json) -> dict[str, Style]:
    return {name: style(i) for i, name in enumerate(comparison["methods"])}


def ranking(comparison: Json) -> Figure:
    """Plot scores and probabilities of improvement by task, with the best method at the top."""
    groups = {task["task"]: (ranked(task["methods"]), task["score_unit"]) for task in _scored(comparison)}
    if comparison["all_tasks"]:
        groups["all tasks"] = (ranked(comparison["all_tasks"]), NORMALISED)
    return ranking_figure(groups, styles_by_name(comparison), comparison["reference"])


def curves(comparison: Json) -> Figure:
    """Plot score over updates by task: the mean of a method's finished runs, and the range as a band."""
    styles = styles_by_name(comparison)
    panels = []
    for task in _scored(comparison):
        lines = [curve(method, styles[method["name"]]) for method in task["methods"]]
        panels.append(Panel(task["task"], "updates", task["score_unit"], lines))
    return plot_panels("curves", "Learning curves", CURVES, panels)


def _scored(comparison: Json) -> list[Json]:
    """Return the tasks that have a finished run."""
    return [task for task in comparison["tasks"] if any(method["num_runs"] for method in task["methods"])]


def write_comparison(root: Path) -> Json:
    """Write comparison.json and comparison.html to `root`, and return the collected results."""
    comparison = collect_comparison(root)
    write_json(root / "comparison.json", comparison)
    write_atomically(root / "comparison.html", render_comparison(comparison))
    return comparison


def render_comparison(comparison: Json) -> str:
    """Return the page of a collected comparison as HTML."""
    tasks = [
        {
            "task": task["task"],
            "unit": task["score_unit"],
            "source": source(task),
            "page": f"{task['run']}/report.html",
            "verdict": verdict(task["methods"], comparison["reference"]),
            **dict(zip(("scores", "costs"), task_tables(task), strict=True)),
        }
        for task in comparison["tasks"]
    ]
    return render_page(
        "comparison.html.j2",
        comparison=comparison,
        title=", ".join(task["task"] for task in comparison["tasks"]),
        tasks=tasks,
        all_tasks=score_table("Statistics over the runs of all tasks", ranked(comparison["all_tasks"])),
        notes=notes(comparison),
        failures=failures(comparison),
        figures={figure.name: figure for figure in comparison_figures(comparison)},
        environment=comparison["tasks"][0]["environment"],
    )

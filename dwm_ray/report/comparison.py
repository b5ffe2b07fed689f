"""Collect a comparison (one run folder per task) into the content of comparison.json.

A score is a trial's mean over episodes at its last checkpoint. Statistics are over seeds (`evaluation.stats`).
Unfinished trials have no score and are excluded from the statistics, but they are listed with their status.
"""

import json
from pathlib import Path, PurePosixPath

import pandas as pd

from dwm_ray.evaluation import stats
from dwm_ray.report.collect import collect_results, measured
from dwm_ray.report.ranking import with_statistics
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.storage import Storage
from dwm_ray.types import Json

METHODS = "methods.json"
"""File that marks a run folder as a comparison: method names, their trials and shared parts."""
NORMALISED = "normalised score"


def open_comparison(address: str, parent: Path) -> Path:
    """Return the folder of a comparison, copied to `parent` if it is remote; raise ValueError if there is none."""
    if "://" not in address:
        return Path(address)
    storage = Storage.parse(address)
    if storage.exists("config.json"):
        return RunFolder.open(address, parent).root
    tasks = [name.parent for entry in storage.files() if (name := PurePosixPath(entry.name)).match(f"*/{METHODS}")]
    if not tasks:
        raise ValueError(f"{storage} is not a comparison: it has no {METHODS}")
    root = RunFolder.synced_copy(storage, parent / storage.name).root
    for task in tasks:
        RunFolder.open(storage.child(task.name).address, root)
    return root


def run_folders(root: Path) -> list[Path]:
    """Return the run folders of a comparison: `root` itself or its children; raise ValueError if there are none."""
    if (root / METHODS).is_file():
        return [root]
    folders = [path.parent for path in sorted(root.glob(f"*/{METHODS}"))]
    if not folders:
        raise ValueError(f"{root} is not a comparison: it has no {METHODS}")
    return folders


def collect_comparison(root: Path) -> Json:
    """Return all tasks and their statistics: the content of comparison.json."""
    tasks = [collect_task(run, root) for run in run_folders(root)]
    names = [method["name"] for method in tasks[0]["methods"]]
    if any([method["name"] for method in task["methods"]] != names for task in tasks):
        raise ValueError(f"{root}: its tasks compare different methods")
    pooled = all(task["score_unit"] == NORMALISED for task in tasks)
    rows = with_statistics([[task["methods"][i] for task in tasks] for i in range(len(names))], pooled)
    columns = ("name", "num_runs", "mean", "iqm", "improvement")
    return {
        "methods": names,
        "reference": names[0],
        "checkpoint": "last",
        "interval": f"{100 * stats.LEVEL:g} % percentile bootstrap, stratified by task",
        "num_resamples": stats.NUM_RESAMPLES,
        "tasks": tasks,
        "all_tasks": [{key: row[key] for key in columns} for row in rows] if len(tasks) > 1 else [],
    }


def collect_task(run: Path, root: Path) -> Json:
    """Return one task: its data, and the runs, statistics and costs of each method."""
    results = collect_results(run)
    methods = json.loads((run / METHODS).read_text(encoding="utf-8"))
    options = results["config"]["run"]
    return {
        "task": results["task"],
        "run": str(run.relative_to(root)),
        "data": results["data"],
        "score_unit": results["score_unit"],
        "profile": results["profile"],
        "wall_s": results["wall_s"],
        "updates": options["training"]["num_updates"],
        "batch_sizes": sorted({trial["config"]["training"]["batch_size"] for trial in results["trials"]}),
        "episodes": options["evaluation"]["num_episodes"],
        "seeds": len(methods[0]["trials"]),
        "environment": results["environment"],
        "methods": with_statistics([[_method(method, results)] for method in methods]),
    }


def _method(method: Json, results: Json) -> Json:
    """Return the runs and costs of a method; `method` is a row of methods.json."""
    trials = {trial["id"]: trial for trial in results["trials"]}
    runs = [trials.get(name) for name in method["trials"]]
    return {
        "name": method["name"],
        "spec": method["spec"],
        "runs": [_run(seed, trial) for seed, trial in enumerate(runs)],
        "costs": _costs(method, [trial for trial in runs if trial and trial["status"] == "done"], results),
    }


def _costs(method: Json, trials: list[Json], results: Json) -> Json:
    """Return mean costs per finished trial and the seconds of shared parts; unknown values are None.

    The cost of shared parts is not divided: each method is charged in full, as if it ran alone.
    """
    columns = ["learner_s", "updates_per_s", "sampling_s", "policy_ms", "max_rss_bytes"]
    costs = [{"learner_s": trial["seconds"], **trial["costs"]} for trial in trials]
    rows = pd.DataFrame(costs, columns=columns, dtype=float)
    means = {**rows.mean(), "max_rss_bytes": rows["max_rss_bytes"].max()}
    averages = {name: None if pd.isna(value) else float(value) for name, value in means.items()}
    shared = {artifact["id"]: artifact["seconds"] for artifact in [*results["world_models"], *results["streams"]]}
    sampling_s = shared.get(method["stream"]) or averages["sampling_s"]
    return {**averages, "world_model_s": shared.get(method["world_model"]), "sampling_s": sampling_s}


def _run(seed: int, trial: Json | None) -> Json:
    """Return one run; a trial without a folder is pending."""
    if trial is None:
        missing: Json = {"trial": None, "error": None, "score": None, "returns": []}
        return {**missing, "seed": seed, "status": "pending", "curve": {"update": [], "score_mean": []}}
    fields = {key: trial[key] for key in ("returns", "status", "error", "updates", "seconds", "curve")}
    score = measured(trial) if trial["status"] == "done" else None
    return {"trial": trial["id"], "seed": seed, "score": score, **fields}

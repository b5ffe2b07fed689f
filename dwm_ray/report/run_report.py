"""The report of a run: one HTML page, which can be rebuilt from the run folder at any time."""

from pathlib import Path

from dwm_ray.data.summary import findings_lines
from dwm_ray.env_options import REGISTERED
from dwm_ray.registry import plugins
from dwm_ray.report.calibration import calibration_table, model_calibrations
from dwm_ray.report.collect import collect_results
from dwm_ray.report.frames import best_frames
from dwm_ray.report.page import render_page
from dwm_ray.report.panels import RunStyles
from dwm_ray.report.ranking import method_rows, score_table, verdict
from dwm_ray.report.run_figures import run_figures
from dwm_ray.report.run_tables import estimate_table, failures, num_episodes, summary_table, trial_table
from dwm_ray.report.table import Table, format_count, format_seconds
from dwm_ray.runs.files import write_atomically
from dwm_ray.tasks.table import ESTIMATED
from dwm_ray.types import Json

RANKING_NOTE = (
    "Names consist of world model and agent. Recorded: recorded instead of imagined futures. An agent alone has no "
    "world model. Each method has its best setting; of: number of settings tried. The setting was selected by the "
    "scores shown, so the scores of methods with many settings are optimistic. IQM: interquartile mean over runs. "
    "P(better): probability that a run scores higher than a run of the same agent without a world model."
)


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page to `out` (default RUN/report.html) and return its path; raise ValueError if RUN is not a run."""
    out = run / "report.html" if out is None else out
    results = collect_results(run)
    write_atomically(out, render(results, best_frames(run, results)))
    return out


def ranking_table(results: Json) -> Table:
    """Return the methods of a run by score, with intervals over seeds."""
    title = f"{results['score_unit']} of the last checkpoint, by method"
    return score_table(title, method_rows(results), RANKING_NOTE)


def render(results: Json, frames: Json | None = None) -> str:
    """Return the page of collected results, and of frames of the best policy, as HTML."""
    trials, summary = trial_table(results), summary_table(results)
    styles = RunStyles(results["trials"], results["world_models"])
    return render_page(
        "run.html.j2",
        results=results,
        data=data_facts(results["data"]),
        frames=frames,
        verdict=verdict(method_rows(results)),
        facts=key_facts(results),
        ranking=ranking_table(results),
        trials=trials,
        summary=summary if 0 < len(summary.rows) < len(trials.rows) else None,
        failures=failures(results),
        figures=run_figures(results),
        estimates=estimate_table(results),
        calibration=calibration_table(model_calibrations(results, styles)),
        sharing=sharing_facts(results),
    )


def data_facts(data: Json) -> Json:
    """Return the non-empty facts about the data that `key_facts` does not show."""
    hidden = ("findings", "env_options") if data.get("env_options") == REGISTERED.to_json() else ("findings",)
    return {name: value for name, value in data.items() if name not in hidden and value != []}


def key_facts(results: Json) -> dict[str, str]:
    """Return data, seeds, updates, checkpoint and cost of a run by printed name."""
    data, trials = results["data"], results["trials"]
    done = [trial for trial in trials if trial["status"] == "done"]
    updates = " or ".join(sorted({format_count(trial["updates"]) for trial in done}))
    episodes = " or ".join(sorted({format_count(num_episodes(trial)) for trial in done}))
    estimated = results["score_unit"] == ESTIMATED
    method = f"estimated from {episodes} held-out episodes" if estimated else f"scored over {episodes} episodes"
    count = format_count(data.get("transitions"))
    environment = f"of {data['env_id']}" if data and data["env_id"] else "without an environment"
    source = f"{data['source']}, {count} transitions {environment}" if data else ""
    has_scores = data.get("score_mean") is not None and not estimated
    facts = {
        "data": source,
        "scores in data": f"mean {data['score_mean']:.1f}, best episode {data['score_max']:.1f}" if has_scores else "",
        "checks": " ".join(findings_lines(data)).removeprefix("checks: ") if data.get("findings") else "",
        "seeds": str(len({trial["seed"] for trial in trials}) or ""),
        "updates": updates,
        "checkpoint": f"last, {method}" if done else "",
        "trials": f"{len(done)} of {len(trials)} finished",
        "profile": results["profile"] or "",
        "time": "" if results["wall_s"] is None else format_seconds(results["wall_s"]),
    }
    return {name: value for name, value in facts.items() if value}


def sharing_facts(results: Json) -> dict[str, str]:
    """Return counters and costs of the parts that trials share by printed name; empty for a run without counters."""
    if not (counters := results["counters"]):
        return {}
    sampled, consumed = counters["segments_sampled"], counters["segments_consumed"]
    reuse = f" ({consumed / sampled:.1f} per generated segment)" if sampled else ""
    trained = {name for name, plugin in plugins("world_models").items() if getattr(plugin, "trained", False)}
    users = sum(trial["world_model"] in trained for trial in results["trials"])
    corrected = sum(model["returns_corrected"] or False for model in results["world_models"])
    models = f"{format_count(counters['world_models_trained'])}, used by {users} trials"
    model_s, stream_s = (sum(row["seconds"] or 0.0 for row in results[kind]) for kind in ("world_models", "streams"))
    return {
        "world models trained": models,
        "world models with corrected returns": format_count(corrected),
        "streams generated": format_count(counters["streams_generated"]),
        "segments generated": format_count(sampled),
        "segments consumed": format_count(consumed) + reuse,
        "time of world models": format_seconds(model_s),
        "time of streams": format_seconds(stream_s),
    }

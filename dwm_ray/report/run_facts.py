"""Facts of a run by their printed names: data, size, and the costs of parts that trials share."""

from __future__ import annotations

import pandas as pd

from dwm_ray.data.summary import findings_lines
from dwm_ray.env_options import REGISTERED
from dwm_ray.report.estimates import num_episodes
from dwm_ray.report.run_tables import Json
from dwm_ray.report.table import format_count, format_seconds
from dwm_ray.tasks.table import ESTIMATED


def data_facts(data: Json) -> Json:
    """Return the facts about the data that are not empty, without what `key_facts` shows."""
    hidden = ("findings", "env_options") if data.get("env_options") == REGISTERED.to_json() else ("findings",)
    return {name: value for name, value in data.items() if name not in hidden and value != []}


def key_facts(results: Json) -> dict[str, str]:
    """Return data, seeds, updates, checkpoint and cost of a run by their printed names."""
    data, trials = results["data"], results["trials"]
    done = [trial for trial in trials if trial["status"] == "done"]
    updates = " or ".join(sorted({format_count(trial["updates"]) for trial in done}))
    episodes = " or ".join(sorted({format_count(num_episodes(trial)) for trial in done}))
    estimated = results["score_unit"] == ESTIMATED
    by = f"estimated from {episodes} held-out episodes" if estimated else f"scored over {episodes} episodes"
    count = format_count(data.get("transitions"))
    where = f"of {data['env_id']}" if data and data["env_id"] else "without an environment"
    source = f"{data['source']}, {count} transitions {where}" if data else ""
    shown = data.get("score_mean") is not None and not estimated
    facts = {
        "data": source,
        "scores in data": f"mean {data['score_mean']:.1f}, best episode {data['score_max']:.1f}" if shown else "",
        "checks": " ".join(findings_lines(data)).removeprefix("checks: ") if data.get("findings") else "",
        "seeds": str(len({trial["seed"] for trial in trials}) or ""),
        "updates": updates,
        "checkpoint": f"last, {by}" if done else "",
        "trials": f"{len(done)} of {len(trials)} finished",
        "profile": results["profile"] or "",
        "time": "" if results["wall_s"] is None else format_seconds(results["wall_s"]),
    }
    return {name: value for name, value in facts.items() if value}


def sharing(results: Json) -> Json:
    """Return the seconds spent on world models and streams, and the seconds that trials would spend without sharing.

    The latter are computed, not measured: each trial with a world model is charged the mean seconds of its kind of
    world model and of that model's streams (0 for a model without streams, such as an on-policy one).
    """
    models = pd.DataFrame(results["world_models"], columns=["id", "name", "seconds"]).astype({"seconds": float})
    streams = pd.DataFrame(results["streams"], columns=["world_model", "seconds"]).astype({"seconds": float})
    names = streams["world_model"].map(models.set_index("id")["name"])
    users = pd.Series([trial["world_model"] for trial in results["trials"] if trial["world_model"] is not None])
    sampled, consumed = (results["counters"].get(f"segments_{event}") for event in ("sampled", "consumed"))
    return {
        "model_s": float(models["seconds"].sum()),
        "stream_s": float(streams["seconds"].sum()),
        "num_users": len(users),
        "alone_model_s": float(users.map(models.groupby("name")["seconds"].mean()).sum()),
        "alone_stream_s": float(users.map(streams.groupby(names)["seconds"].mean()).sum()),
        "reuse": consumed / sampled if sampled and consumed is not None else None,
    }


def sharing_facts(results: Json) -> dict[str, str]:
    """Return counters and costs of shared parts by their printed names."""
    shared, counters = sharing(results), results["counters"]
    reuse = "" if shared["reuse"] is None else f" ({shared['reuse']:.1f} per generated segment)"
    models = f"{format_count(counters['world_models_trained'])}, used by {shared['num_users']} trials"
    return {
        "world models trained": models,
        "streams generated": format_count(counters["streams_generated"]),
        "segments generated": format_count(counters["segments_sampled"]),
        "segments consumed": format_count(counters["segments_consumed"]) + reuse,
        "time of world models": _against(shared["model_s"], shared["alone_model_s"]),
        "time of streams": _against(shared["stream_s"], shared["alone_stream_s"]),
    }


def _against(shared: float, alone: float) -> str:
    return f"{format_seconds(shared)}; {format_seconds(alone)} without sharing (computed from mean times)"

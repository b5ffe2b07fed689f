"""What the trials of a sweep shared, and what the same trials would have cost one by one.

The comparison is counted, not measured: had each trial that imagines trained its own world model and drawn its own
stream, each would have taken as long as the shared ones of its kind took on average.
"""

from __future__ import annotations

from statistics import mean
from typing import Any


def sharing(results: dict[str, Any]) -> dict[str, Any]:
    """Seconds spent on world models and streams, and seconds that unshared trials would have spent on them."""
    models = [model for model in results["world_models"] if model["seconds"] is not None]
    names = {model["id"]: model["name"] for model in results["world_models"]}
    streams = [
        {"name": names.get(stream["world_model"]), "seconds": stream["seconds"]} for stream in results["streams"]
    ]
    users = [trial["world_model"] for trial in results["trials"] if trial["world_model"] is not None]
    shared = {"model_s": sum(m["seconds"] for m in models), "stream_s": sum(s["seconds"] for s in streams)}
    return {
        **shared,
        "num_users": len(users),
        "alone_model_s": sum(_average(models, user) for user in users),
        "alone_stream_s": sum(_average(streams, user) for user in users),
        "reuse": _reuse(results["counters"]),
    }


def _average(items: list[dict[str, Any]], name: str) -> float:
    """Mean seconds of the items of one world model; 0 where it has none, as models that follow a policy draw none."""
    times = [item["seconds"] for item in items if item["name"] == name]
    return mean(times) if times else 0.0


def _reuse(counters: dict[str, Any]) -> float | None:
    """How many times a sampled segment was taken in by a learner, on average."""
    sampled, consumed = counters.get("segments_sampled"), counters.get("segments_consumed")
    return consumed / sampled if sampled and consumed is not None else None

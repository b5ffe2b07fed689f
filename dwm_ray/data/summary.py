"""Summarise a dataset for the console and for the `data.json` of a run."""

from dataclasses import asdict
from typing import Any

import numpy as np

from dwm_ray.data.transitions import num_start_pairs
from dwm_ray.tasks.table import TaskSpec
from dwm_ray.types import Episodes, Finding


def data_summary(episodes: Episodes, task: TaskSpec) -> dict[str, Any]:
    """Return the content of `data.json`; returns are undiscounted, and scores are in `task.score_unit`."""
    returns = episodes.returns()
    card = episodes.card
    return {
        "source": card.source,
        "name": card.name,
        "path": card.path,
        "env_id": card.env_id,
        "env_options": card.env_options.to_json(),
        "notes": list(card.notes),
        "findings": [asdict(finding) for finding in card.findings],
        "transitions": episodes.num_transitions,
        "start_pairs": num_start_pairs(episodes),
        "episodes": episodes.num_episodes,
        "fingerprint": card.fingerprint,
        "terminated_episodes": int(episodes.terminated.sum()),
        "return_min": float(returns.min()),
        "return_mean": float(returns.mean()),
        "return_max": float(returns.max()),
        "reward_min": float(episodes.rew.min()),
        "reward_max": float(episodes.rew.max()),
        "score_mean": float(np.mean([task.score(float(value)) for value in returns])),
        "score_max": task.score(float(returns.max())),
        "obs_size": episodes.spaces.obs_size,
        "act_size": episodes.spaces.act_size,
    }


def summary_text(facts: dict[str, Any]) -> str:
    """Return `data_summary` as two lines of text, followed by one line per warning."""
    constant = facts["reward_min"] == facts["reward_max"]
    # If episodes terminate, a constant reward still distinguishes actions, because it counts the steps.
    uninformative = constant and (facts["reward_max"] == 0 or not facts["terminated_episodes"])
    warnings = [*facts["notes"], *findings_lines(facts)]
    warnings += ["all rewards are equal: only imitation can learn from these data"] if uninformative else []
    simulated = facts["env_id"] is not None
    score = f" (score {facts['score_mean']:.1f}, best {facts['score_max']:.1f})" if simulated else ""
    return (
        f"{facts['name']}: {facts['source']}, {facts['env_id'] or 'no environment'}, "
        f"{facts['transitions']:,} transitions in {facts['episodes']:,} episodes "
        f"({facts['terminated_episodes']:,} terminated)\n"
        f"returns {facts['return_min']:.0f} to {facts['return_max']:.0f}, mean {facts['return_mean']:.0f}{score}; "
        f"fingerprint {facts['fingerprint']}" + "".join(f"\n{line}" for line in warnings)
    )


def findings_lines(facts: dict[str, Any]) -> list[str]:
    """Return one line with all contradictions in `data_summary`, or none."""
    summary = "; ".join(str(Finding(**finding)) for finding in facts["findings"])
    return [f"checks: {summary}"] if summary else []

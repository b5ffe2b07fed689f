"""Export the policy of a trial: `policy.onnx`, `policy.pt2` (torch.export) and the card `policy.json`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dwm_ray import __version__
from dwm_ray.agents.base import Agent
from dwm_ray.errors import optional_module
from dwm_ray.export.graph import (
    CHECKED_ROWS,
    INPUT,
    OUTPUT,
    PACKAGES,
    PolicyGraph,
    differences,
    traced,
    write_onnx,
    write_torch,
)
from dwm_ray.export.trials import ChosenTrial
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.stores import load_agent

ONNX, TORCH, CARD = "policy.onnx", "policy.pt2", "policy.json"
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime")


def export_policy(trial: ChosenTrial, folder: Path) -> dict[str, Any]:
    """Write the policy's files to `folder`, replacing earlier ones, and return the card.

    Raises:
        ValueError: A package is missing, the agent's policy is not a network, or its graph computes other actions. In
            this case nothing is written.
    """
    for name in PACKAGES:
        optional_module(name, "export", "export")
    agent, stored = load_agent(trial.checkpoint, torch.device("cpu"), {"agent.matmul_precision": "fp32"})
    graph = traced(PolicyGraph(agent), agent.spaces.obs_size)
    with _temporary_folder(folder) as temporary:
        write_torch(graph, temporary / TORCH)
        opset = write_onnx(graph, temporary / ONNX)
        check = {"rows": CHECKED_ROWS, "largest_difference": differences(agent, temporary / ONNX, temporary / TORCH)}
        card = {**policy_card(trial, agent, stored), "opset": opset, "check": check}
        write_json(temporary / CARD, card)
        for file in (TORCH, ONNX, CARD):
            (temporary / file).replace(folder / file)
    return card


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Create a folder and a temporary folder in it; raise ValueError on failure. Remove empty folders."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(dir=folder, prefix=".part-")
    except OSError as error:
        raise ValueError(f"--out {folder}: {error.strerror}; expected a folder that can be written") from error
    try:
        with temporary as name:
            yield Path(name)
    finally:
        with suppress(OSError):
            folder.rmdir()


def policy_card(trial: ChosenTrial, agent: Agent, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a policy: arrays, origin, data and score; `stored` describes its checkpoint."""
    row, results, spaces = trial.row, trial.results, agent.spaces
    data = {key: results["data"].get(key) for key in ("name", "source", "env_id", "fingerprint", "transitions")}
    score = {"mean": row["score_mean"], "std": row["score_std"], "episodes": row["episodes"]}
    return {
        "files": {"onnx": ONNX, "torch_export": TORCH},
        "input": {"name": INPUT, "dtype": "float32", "shape": ["batch", spaces.obs_size], "unit": "raw observations"},
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": ["batch", spaces.act_size],
            "low": list(spaces.act_low),
            "high": list(spaces.act_high),
        },
        "env_id": stored["env_id"],
        "env_options": stored.get("env_options", {}),
        "data": data,
        "score": {**score, "unit": results["score_unit"], "task": results["task"], "data": data["name"]},
        "estimate": row["estimate"],
        "method": row["method"],
        "agent": row["agent"],
        "world_model": row["world_model"],
        "seed": row["seed"],
        "values": row["values"],
        "checkpoint": row["checkpoint"],
        "updates": stored["update"],
        "run": trial.run.name,
        "trial": row["id"],
        "versions": {"dwm_ray": __version__, **{name: metadata.version(name) for name in LIBRARIES}},
    }

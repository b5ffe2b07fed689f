"""Policies as graphs that do not depend on dwm_ray: ONNX, and the format of `torch.export`.

A graph contains the observation normaliser and the action bounds. It computes in float32, independently of the
precision of the run.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dwm_ray.agents.base import Agent
from dwm_ray.errors import one_line

INPUT, OUTPUT = "obs", "act"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5
"""Maximum difference of actions from torch, relative to half the action range if that exceeds 1."""
CHECKED_ROWS = 256


class PolicyGraph(nn.Module):
    """Greedy policy of an agent: raw observations [B, O] -> actions [B, A] within the task's bounds."""

    low: Tensor  # [A]
    high: Tensor  # [A]

    def __init__(self, agent: Agent) -> None:
        """Wrap an agent; raise ValueError if its actions are not a function of the observation alone."""
        super().__init__()
        if agent.plans:
            raise ValueError(
                f"agent {agent.config.plugin_name()}: samples a plan with noise for every observation, so it is "
                "not a fixed network; expected an agent whose policy is a network"
            )
        self.agent = agent
        self.register_buffer("low", torch.tensor(agent.spaces.act_low), persistent=False)
        self.register_buffer("high", torch.tensor(agent.spaces.act_high), persistent=False)

    def forward(self, obs: Tensor) -> Tensor:
        """Return actions [B, A]."""
        return self.agent.act(obs).clamp(self.low, self.high)


def traced(policy: nn.Module, obs_size: int) -> torch.export.ExportedProgram:
    """Return the graph of a policy for batches of any size; raise ValueError if torch cannot trace it."""
    rows = torch.zeros(5, obs_size)  # an unusual size, because torch treats equal sizes as constants
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(
                policy.requires_grad_(False).eval(), (rows,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}
            )
    except Exception as error:  # torch raises many classes
        raise ValueError(
            f"policy: torch.export cannot trace it ({one_line(error)[:200]}); expected tensor operations that do not "
            "depend on the number of observations"
        ) from error


def write_torch(graph: torch.export.ExportedProgram, path: Path) -> None:
    """Write a file from which `torch.export.load(path).module()` returns a function of observations."""
    content = io.BytesIO()  # torch ends the process if it cannot write a file
    torch.export.save(graph, content)
    path.write_bytes(content.getbuffer())


def write_onnx(graph: torch.export.ExportedProgram, path: Path) -> int:
    """Write an ONNX file with input `obs` and output `act`, and return its operator set version."""
    with _quiet():
        program: Any = torch.onnx.export(graph, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT])
        program.save(path)
    return int(program.model.opset_imports[""])


def onnx_actions(path: Path, obs: np.ndarray) -> np.ndarray:
    """Return the actions [B, A] of an ONNX policy, computed by onnxruntime."""
    runtime: Any = import_module("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    actions: np.ndarray = session.run([OUTPUT], {INPUT: obs})[0]
    return actions


def differences(agent: Agent, onnx: Path, torch_export: Path) -> dict[str, float]:
    """Return the maximum difference of each file's actions from the agent's, in batches of `CHECKED_ROWS` and 1.

    Observations are normally distributed with twice the standard deviation of the data. Raises ValueError if a
    difference exceeds the tolerance.
    """
    normal = torch.randn(CHECKED_ROWS, agent.spaces.obs_size, generator=torch.Generator().manual_seed(0))
    rows = agent.scaling.obs.inverse(2 * normal)
    module = torch.export.load(torch_export).module()
    result = {"onnxruntime": 0.0, "torch_export": 0.0}
    for obs in (rows, rows[:1]):
        expected = agent.act(obs).numpy()
        for name, act in (("onnxruntime", onnx_actions(onnx, obs.numpy())), ("torch_export", module(obs).numpy())):
            result[name] = float(np.maximum(result[name], np.abs(act - expected).max()))  # NaN remains
    limit = TOLERANCE * max(1.0, float(agent.scaling.half_range.max()))
    for name, difference in result.items():
        if not difference <= limit:
            raise ValueError(
                f"policy: actions of {name} differ from torch by {difference:g}; expected at most {limit:g}"
            )
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress notices of torch's exporter about unused packages and its own calls."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

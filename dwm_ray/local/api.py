"""The Python API: train in this process, load policies and world models."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.summary import data_summary
from dwm_ray.data.task_data import load_task_data
from dwm_ray.evaluation.evaluators import check_evaluation
from dwm_ray.experiment.search_space import Trial, record_trials
from dwm_ray.local.executor import LocalExecutor
from dwm_ray.runs.folder import RunFailed, RunFolder, read_json, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.training.fit_world_model import correction_note
from dwm_ray.training.stores import load_agent, load_model
from dwm_ray.types import Policy
from dwm_ray.world_models.base import WorldModel

logger = logging.getLogger(__name__)
ArrayPolicy = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TrainedTrial:
    """Result of `train`."""

    folder: Path
    """Folder of the trial: logs, evaluations, and the policy in `checkpoint/`."""
    score: float | None
    """Mean normalised score of the last checkpoint; the mean return for tasks without reference scores; None for data
    without an environment."""
    returns: list[float]
    """Undiscounted return of each episode of the last evaluation; empty for data without an environment."""
    estimates: dict[str, float]
    """Off-policy estimates of the last checkpoint by name, for data without an environment; see the documentation."""


def train(config: RunConfig, output: str | Path = "runs") -> TrainedTrial:
    """Train one trial in this process, in a new run folder below `output`; `pipelines/train.py` also runs on Ray.

    Example:
        >>> config = dwm_ray.run_config("laptop", world_model="none", agent="td3_bc")
        >>> config = config.with_values({"training.num_updates": 200, "evaluation.num_episodes": 1})
        >>> trial = dwm_ray.train(config)

    Raises:
        TypeError: `config` is not a `RunConfig`.
        ValueError: The configuration or its data cannot be used.
        RunFailed: Learning diverged, or the environment failed.
    """
    if not isinstance(config, RunConfig):
        raise TypeError(f"config: got {type(config).__name__}; expected the result of dwm_ray.run_config(...)")
    task_data = load_task_data(config)
    check_evaluation(config, task_data)
    notes = [note for note in [correction_note(config, task_data)] if note]
    for line in (*task_data.episodes.card.notes, *task_data.episodes.card.findings, *notes):
        logger.warning("%s: %s", config.task, line)
    run = RunFolder.create(Path(output), config.task)
    write_json(run.config, {"profile": "api", "run": config.model_dump(mode="json")})
    write_json(run.root / "data.json", data_summary(task_data.episodes, task_data.task))
    trial = Trial(config, {})
    record_trials([trial], run)
    LocalExecutor(run, task_data.episodes).run_one(trial)
    folder = run.trial(trial.id)
    if status_of(folder) != "done":
        status = read_json(folder / "status.json") or {}
        raise RunFailed(str(status.get("error", f"{folder}: the trial did not finish")))
    last = read_rows(folder / "evaluations.jsonl")[-1]
    estimates = {name: value for name, value in last.items() if name.startswith("estimate_")}
    return TrainedTrial(folder, last.get("score_mean"), last.get("returns", []), estimates)


class LoadedPolicy:
    """Greedy policy on numpy arrays: raw observations [B, O] or [O] -> actions [B, A] or [A] in the task's bounds."""

    def __init__(self, agent: Agent, description: dict[str, Any]) -> None:
        self.agent = agent
        self.description = description
        """Options, spaces, environment id and number of updates of the checkpoint."""

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the actions, float32; raise ValueError for another size or values that are not finite."""
        values = np.asarray(obs, np.float32)
        batch = np.atleast_2d(values)
        size = self.agent.spaces.obs_size
        if batch.ndim != 2 or batch.shape[1] != size:
            raise ValueError(f"obs: has shape {list(np.shape(obs))}; expected [B, {size}] or [{size}]")
        if not np.isfinite(values).all():
            entry = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(f"obs: entry {entry.tolist()} is {values[tuple(entry)]}; expected finite values")
        actions = self.agent.act(torch.from_numpy(batch)).numpy()
        return actions if np.ndim(obs) == 2 else actions[0]


def load_policy(path: str | Path) -> LoadedPolicy:
    """Load the policy from a trial's folder or from its `checkpoint` folder; nothing is unpickled.

    Example:
        >>> policy = dwm_ray.load_policy(trial.folder)
        >>> policy(np.zeros(17)).shape
        (6,)

    Raises:
        ValueError: The folder holds no policy that this version reads.
    """
    folder = Path(path)
    inner = folder / "checkpoint"
    return LoadedPolicy(*load_agent(inner if inner.is_dir() else folder, torch.device("cpu")))


class LoadedWorldModel:
    """World model on numpy arrays."""

    def __init__(self, model: WorldModel) -> None:
        self.model = model

    def imagine(
        self,
        obs: np.ndarray,
        act: np.ndarray,
        horizon: int | None = None,
        rtg: float = 0.5,
        policy: ArrayPolicy | None = None,
        seed: int = 0,
    ) -> dict[str, np.ndarray]:
        """Generate one segment per start pair, in raw units.

        Args:
            obs: Start states [B, O].
            act: First actions [B, A].
            horizon: Number of steps H; default: as many as the model supports.
            rtg: Return-to-go in units of the task's scale; ignored by models without it.
            policy: Observations [B, O] -> actions [B, A], for models that follow a policy.
            seed: Seed of the noise; equal seeds give equal segments.

        Returns:
            obs [B, H + 1, O], act [B, 1 or H, A], rew [B, H], discount [B, H] (0 from a predicted termination
            on), penalty [B, H].

        Raises:
            ValueError: An array has another shape or is not finite, or the model does not support the horizon.
        """
        spaces, num = self.model.spaces, len(obs)
        segments = self.model.imagine(
            _rows("obs", obs, (num, spaces.obs_size)),
            _rows("act", act, (num, spaces.act_size)),
            policy=None if policy is None else _on_tensors(policy, spaces.act_size),
            horizon=self.model.max_horizon if horizon is None else horizon,
            rtg=rtg,
            generator=torch.Generator().manual_seed(seed),
        )
        return {name: value.numpy() for name, value in segments.tensors().items() if name != "source"}


def _on_tensors(policy: ArrayPolicy, act_size: int) -> Policy:
    """Return a policy on arrays as one on tensors, which raises ValueError for actions of another shape."""
    return lambda obs, step: _rows("policy", policy(obs.numpy()), (len(obs), act_size))


def _rows(name: str, values: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """Return finite rows as float32; raise ValueError for others."""
    rows = np.asarray(values, np.float32)
    if rows.shape != shape or not np.isfinite(rows).all():
        raise ValueError(f"{name}: got shape {list(rows.shape)}; expected finite values of shape {list(shape)}")
    return torch.from_numpy(rows)


def load_world_model(path: str | Path) -> LoadedWorldModel:
    """Load a trained world model from its folder, `RUN/world_models/NAME`; nothing is unpickled.

    Example:
        >>> model = dwm_ray.load_world_model(next(Path("runs").glob("*/world_models/*")))
        >>> model.imagine(obs, act, horizon=5, rtg=0.5)["obs"].shape
        (32, 6, 17)

    Raises:
        ValueError: The folder holds no model that this version reads.
    """
    return LoadedWorldModel(load_model(Path(path)))

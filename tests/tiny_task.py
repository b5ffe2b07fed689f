"""A run that takes a second: Pendulum-v1 recorded with random actions, a DWM of a few thousand weights.

The numbers say nothing about methods; they make every part of the pipeline do its work a few times.
"""

from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np

from dwm_ray.config import RunConfig

NUM_EPISODES = 6
LENGTH = 200
NUM_SEGMENTS = 600
BLOCK_ROWS = 128
NUM_BLOCKS = 5  # the last one is shorter

DWM = {
    "name": "dwm",
    "sequence_length": 4,
    "diffusion_steps": 2,
    "solver_steps": 2,
    "denoiser": "mlp",
    "prediction": "sample",
    "dim": 8,
    "multipliers": [2],
    "num_updates": 20,
    "batch_size": 32,
}
ONE_STEP = {"name": "one_step", "num_updates": 20, "batch_size": 32, "ensemble_size": 2, "num_elites": 1, "width": 8}
OPTIONS = {
    "synthesis.num_segments": NUM_SEGMENTS,
    "synthesis.block_rows": BLOCK_ROWS,
    "replay.min_synthetic": 200,
    "replay.patience_s": 60.0,
    "training.num_updates": 30,
    "training.batch_size": 16,
    "training.log_every": 10,
    "training.checkpoint_every": 10,
    "evaluation.every": 20,
    "evaluation.num_episodes": 2,
    "evaluation.curve_episodes": 1,
    "synthesis.rollout_shards": 1,
    "cluster.num_samplers": 1,
    "cluster.learner_cpus": 0.8,
}


def recording(path: Path) -> Path:
    """Write 6 episodes of 200 steps in D4RL's layout, in a file that names its environment."""
    env, rng = gymnasium.make("Pendulum-v1"), np.random.default_rng(0)
    rows: dict[str, list[Any]] = {key: [] for key in ("observations", "actions", "rewards", "next_observations")}
    for episode in range(NUM_EPISODES):
        obs, _ = env.reset(seed=episode)
        for _ in range(LENGTH):
            act = rng.uniform(-2, 2, 1).astype(np.float32)
            following, rew, *_ = env.step(act)
            for key, value in zip(rows, (obs, act, rew, following), strict=True):
                rows[key].append(value)
            obs = following
    env.close()
    with h5py.File(path, "w") as file:
        for key, values in rows.items():
            file[key] = np.asarray(values, np.float32)
        file["terminals"] = np.zeros(NUM_EPISODES * LENGTH, bool)
        file["timeouts"] = np.arange(1, NUM_EPISODES * LENGTH + 1) % LENGTH == 0
        file.attrs["env_id"] = "Pendulum-v1"
    return path


def tiny_config(file: Path, world_model: dict[str, Any] | None = DWM, **options: Any) -> RunConfig:
    """A run on `recording(file)`; `options` by dotted path, as `**{"synthesis.seed": 1}`."""
    plugins = {"world_model": world_model, "agent": "td3_bc", "filter": "keep_all"}
    data, synthesis = {"file": str(file)}, {"horizon": 2}
    base = RunConfig.model_validate({"task": "pendulum", "data": data, "synthesis": synthesis, **plugins})
    return base.with_values({**OPTIONS, **options})

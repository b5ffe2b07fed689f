"""Read Minari datasets (minari.farama.org), which store T + 1 observations per episode: all next states are known."""

from __future__ import annotations

import re
from typing import Any

import minari
import numpy as np

from dwm_ray.data.checks import Arrays, environment_id, episodes_from, known_spaces
from dwm_ray.tasks.environments import as_vector
from dwm_ray.types import DataCard, Episodes

ID = re.compile(r"[\w-]+(/[\w-]+)*-v\d+", re.ASCII)
"""Minari joins an id to its folder without a check, so other text could point outside of it."""


def read(dataset_id: str, download: bool, env_id: str | None = None) -> Episodes:
    """Return the episodes of a dataset such as 'mujoco/halfcheetah/medium-v0'.

    `env_id` is needed if the set does not name its environment. Goal-aware observations become vectors, see
    `environments.vector_keys`. Raises ValueError if the set is not on this machine (unless `download`) or cannot be
    read, or if its environment cannot be made here, because a policy could not be scored then.
    """
    where = f"minari:{dataset_id}"
    dataset = _open(where, dataset_id, download)
    env_id = environment_id(where, dataset.env_spec.id if dataset.env_spec is not None else None, env_id)
    spaces = known_spaces(where, env_id)
    parts = [_episode(where, env_id, episode) for episode in dataset.iterate_episodes()]
    if not parts:
        raise ValueError(f"{where}: holds no episodes; expected at least one")
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    card = DataCard(dataset_id, "Minari", str(dataset.storage.data_path), env_id, "")
    return episodes_from(arrays, card, spaces)


def _open(where: str, dataset_id: str, download: bool) -> Any:
    if not ID.fullmatch(dataset_id):
        raise ValueError(
            f"{where}: is not the id of a Minari dataset; expected one such as mujoco/halfcheetah/medium-v0"
        )
    try:
        return minari.load_dataset(dataset_id, download=download)
    except FileNotFoundError as error:
        raise ValueError(f"{where}: not on this machine; --execution.download fetches it") from error
    except Exception as error:  # network, version and parse errors of many libraries
        raise ValueError(f"{where}: cannot be loaded by Minari: {error}") from error


def _episode(where: str, env_id: str, episode: Any) -> Arrays:
    obs, num_steps = as_vector(where, env_id, episode.observations), len(episode)
    if len(obs) != num_steps + 1:
        raise ValueError(
            f"{where}: episode {episode.id} has {len(obs)} observations for {num_steps} steps; expected {num_steps + 1}"
        )
    truncated = np.array(episode.truncations, dtype=bool)
    truncated[-1] |= not episode.terminations[-1]  # a recording may stop without a mark
    return {
        "observations": obs[:-1],
        "actions": np.asarray(episode.actions),
        "rewards": np.asarray(episode.rewards),
        "terminals": np.asarray(episode.terminations),
        "timeouts": truncated,
        "next_observations": obs[1:],
    }

"""Minari data sets (minari.farama.org). Minari keeps T + 1 observations an episode, so every next state is known."""

from __future__ import annotations

import re
from typing import Any

import minari
import numpy as np

from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.tasks.environments import as_vector
from dwm_ray.tasks.spaces import spaces_of
from dwm_ray.types import DataCard, Episodes, Spaces

SOURCE = "Minari"
ID = re.compile(r"[\w-]+(/[\w-]+)*-v\d+", re.ASCII)
"""Minari joins an id to its folder unread: another would name a place outside it."""


def read(dataset_id: str, download: bool, env_id: str | None = None) -> Episodes:
    """Episodes of a data set such as 'mujoco/halfcheetah/medium-v0'.

    `env_id` is for sets that do not name their environment. Observations of mazes become vectors as in
    `environments.vector_keys`. ValueError where the set is not on this machine (unless `download`), cannot be read, or
    its environment cannot be made here: what is learned from it could not be scored.
    """
    where = f"minari:{dataset_id}"
    dataset = _open(dataset_id, download)
    env_id = _environment(dataset, where, env_id)
    spaces = _spaces(where, env_id)
    parts = [_episode(where, env_id, episode) for episode in dataset.iterate_episodes()]
    if not parts:
        raise ValueError(f"{where}: holds no episodes")
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    card = DataCard(dataset_id, SOURCE, str(dataset.storage.data_path), env_id, "")
    return episodes_from(arrays, card, spaces)


def _open(dataset_id: str, download: bool) -> Any:
    where = f"minari:{dataset_id}"
    if not ID.fullmatch(dataset_id):
        raise ValueError(f"{where}: is no id of a Minari data set; expected one like mujoco/halfcheetah/medium-v0")
    try:
        return minari.load_dataset(dataset_id, download=download)
    except FileNotFoundError as error:
        raise ValueError(f"{where}: not on this machine; --execution.download fetches it") from error
    except Exception as error:  # network, version and parse errors of many libraries
        raise ValueError(f"{where}: cannot be loaded by Minari: {error}") from error


def _environment(dataset: Any, where: str, asked: str | None) -> str:
    named = dataset.env_spec.id if dataset.env_spec is not None else None
    if named and ":" in named and named != asked:  # as in d4rl: what code runs here, data do not decide
        raise ValueError(f"{where}: names {named!r}, a module to import; where you trust it: --data.env {named}")
    if named and asked and named != asked:
        raise ValueError(f"{where}: was recorded in {named}, but data.env asks for {asked}; leave data.env out")
    if not (named or asked):
        raise ValueError(f"{where}: does not name its environment; give --data.env")
    return str(named or asked)


def _spaces(where: str, env_id: str) -> Spaces:
    try:
        return spaces_of(env_id)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _episode(where: str, env_id: str, episode: Any) -> Arrays:
    obs = as_vector(where, env_id, episode.observations)
    if len(obs) != len(episode) + 1:
        raise ValueError(f"{where}: episode {episode.id} has {len(obs)} observations for {len(episode)} steps")
    truncated = np.array(episode.truncations, dtype=bool)
    truncated[-1] |= not episode.terminations[-1]  # a recording may stop without saying so
    return {
        "observations": obs[:-1],
        "actions": np.asarray(episode.actions),
        "rewards": np.asarray(episode.rewards),
        "terminals": np.asarray(episode.terminations),
        "timeouts": truncated,
        "next_observations": obs[1:],
    }

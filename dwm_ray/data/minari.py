"""Read Minari datasets (minari.farama.org), which store T + 1 observations per episode: all next states are known."""

import re
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict

from dwm_ray.data import mapped
from dwm_ray.data.checks import Arrays, episodes_from
from dwm_ray.data.d4rl import reading_hdf5
from dwm_ray.data.environment import NamedEnvironment, environment_id, known_spaces, options_of, with_environment
from dwm_ray.errors import one_line
from dwm_ray.tasks.environments import as_vector
from dwm_ray.types import DataCard, Episodes, Spaces

MAIN_FILE = "main_data.hdf5"
"""File that contains the episodes of a dataset."""
ID = re.compile(r"[\w-]+(/[\w-]+)*-v\d+", re.ASCII)
"""Minari appends an id to its folder without a check, so other text could point outside the folder."""


def read(dataset_id: str, download: bool, env_id: str | None = None, env_kwargs: str | None = None) -> Episodes:
    """Return the episodes of a dataset such as 'mujoco/halfcheetah/medium-v0'.

    Policies are scored in the dataset's evaluation environment if it has one, else in the environment of the recording.
    `env_id` requests another environment, or 'none'. Goal-aware observations become vectors
    (`environments.vector_keys`). Raises ValueError if the dataset is not on this machine (unless `download`) or cannot
    be read, or if policies could not be scored because its environments cannot be created or have different spaces.
    """
    origin = f"minari:{dataset_id}"
    return _episodes(origin, dataset_id, _open(origin, dataset_id, download), env_id, env_kwargs)


def read_folder(path: Path, name: str, env_id: str | None = None, env_kwargs: str | None = None) -> Episodes:
    """Return the episodes of a dataset whose folder `data` is `path`; see `read`."""
    try:
        dataset = minari.MinariDataset(path)
    except Exception as error:  # version and parse errors of many libraries
        raise ValueError(
            f"{path / MAIN_FILE}: cannot be loaded by Minari: {one_line(error)}; expected the file in its dataset's "
            "folder, next to metadata.json"
        ) from error
    return _episodes(str(path / MAIN_FILE), name, dataset, env_id, env_kwargs)


def _episodes(origin: str, name: str, dataset: Any, env_id: str | None, env_kwargs: str | None) -> Episodes:
    if not dataset.total_episodes:
        raise ValueError(f"{origin}: holds no episodes; expected at least one")
    _check_vectors(origin, dataset)
    specs = [spec for spec in (dataset._eval_env_spec, dataset.env_spec) if spec is not None]  # no public property
    env_id = environment_id(origin, specs[0].id if specs else None, env_id)
    named = None if env_id is None else _named(origin, env_id, specs)
    card = with_environment(DataCard(name, "Minari", str(dataset.storage.data_path), env_id, ""), named, env_kwargs)
    spaces = None if env_id is None else known_spaces(origin, env_id, card.env_options)
    if env_id and spaces and len(specs) == 2 and named == _named(origin, env_id, specs[:1]):
        _check_spaces(origin, env_id, spaces, specs[1])
    layout = env_id or (specs[0].id if specs else "")
    with reading_hdf5(origin):
        num_bytes = int(dataset.total_steps) * mapped.row_bytes(_episode(origin, layout, dataset[0]))

    def convert() -> Episodes:
        batches = (_episode(origin, layout, episode) for episode in dataset.iterate_episodes())
        with reading_hdf5(origin):
            arrays = mapped.joined(origin, batches, int(dataset.total_steps))
        return episodes_from(arrays, card, limit=specs[-1].max_episode_steps if specs else None)

    files = sorted(path for path in Path(card.path).iterdir() if path.is_file())
    return mapped.converted(card, env_kwargs, files, num_bytes, convert)


def _check_vectors(origin: str, dataset: Any) -> None:
    """Raise ValueError if the recorded spaces are not vectors; dictionaries are checked when they are read."""
    spaces = {"observations": (dataset.observation_space, (Box, Dict)), "actions": (dataset.action_space, (Box,))}
    for name, (space, kinds) in spaces.items():
        if not isinstance(space, kinds):
            raise ValueError(f"{origin}: {name} are {space}; expected a vector of real numbers")


def _named(origin: str, env_id: str, specs: list[EnvSpec]) -> NamedEnvironment | None:
    """Return the first environment of a dataset with this id, else its first environment."""
    for spec in specs:
        if NamedEnvironment(spec.id).is_same(env_id):
            return NamedEnvironment(spec.id, options_of(origin, env_id, spec))
    return NamedEnvironment(specs[0].id) if specs else None


def _check_spaces(origin: str, env_id: str, spaces: Spaces, recorded: EnvSpec) -> None:
    """Raise ValueError if the spaces of the evaluation environment differ from those of the recording."""
    module = env_id.rpartition(":")[0]
    recorded_id = f"{module}:{recorded.id}" if module else recorded.id
    if known_spaces(origin, recorded_id, options_of(origin, recorded_id, recorded)) != spaces:
        raise ValueError(
            f"{origin}: its evaluation environment {env_id} has other spaces than {recorded.id}, in which it was "
            "recorded; expected equal ones"
        )


def _open(origin: str, dataset_id: str, download: bool) -> Any:
    if not ID.fullmatch(dataset_id):
        raise ValueError(
            f"{origin}: is not the id of a Minari dataset; expected one such as mujoco/halfcheetah/medium-v0"
        )
    try:
        return minari.load_dataset(dataset_id, download=download)
    except FileNotFoundError as error:
        raise ValueError(f"{origin}: not on this machine; --execution.download fetches it") from error
    except Exception as error:  # network, version and parse errors of many libraries
        raise ValueError(f"{origin}: cannot be loaded by Minari: {error}") from error


def _episode(origin: str, env_id: str, episode: Any) -> Arrays:
    obs, num_steps = as_vector(origin, env_id, episode.observations), len(episode)
    if len(obs) != num_steps + 1:
        raise ValueError(
            f"{origin}: episode {episode.id} has {len(obs)} observations, {num_steps} steps; expected {num_steps + 1}"
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

"""Episodes -> D4RL-layout HDF5 or a Minari data set, for other programs. Parquet: `data.parquet.write`."""

from __future__ import annotations

import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from dwm_ray.tasks.environments import make_environment, specification
from dwm_ray.types import Episodes


def write_hdf5(episodes: Episodes, path: Path, attrs: dict[str, Any] | None = None) -> None:
    """Write D4RL's keys (best gzip level) with `env_id` and `attrs` as attributes. ValueError where the file exists.

    `next_observations` is left out where any next state is unknown: readers would take the filler for a state.
    """
    if path.exists():
        raise ValueError(f"{path}: exists already, nothing is overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with h5py.File(part, "w") as file:
        for key, array in _d4rl_arrays(episodes).items():
            file.create_dataset(key, data=array, compression="gzip", compression_opts=9, shuffle=True)
        file.attrs.update({**(attrs or {}), "env_id": episodes.card.env_id})
    part.replace(path)


def _d4rl_arrays(episodes: Episodes) -> dict[str, np.ndarray]:
    arrays = {
        "observations": episodes.obs,
        "actions": episodes.act,
        "rewards": episodes.rew,
        "terminals": episodes.terminated,
        "timeouts": episodes.truncated,
    }
    return {**arrays, "next_observations": episodes.next_obs} if episodes.known_next.all() else arrays


def write_minari(episodes: Episodes, dataset_id: str, description: str) -> None:
    """Create a local Minari set (id such as 'mine/hopper/replay-v0') that names the episodes' environment.

    ValueError where the id is bad or taken, or the state after an episode's last step is unknown: Minari stores it.
    """
    check_new_minari(dataset_id)
    bounds = list(zip(episodes.offsets[:-1], episodes.offsets[1:], strict=True))
    lacking = sum(not episodes.known_next[end - 1] for _, end in bounds)
    if lacking:
        raise ValueError(
            f"{episodes.card.path}: {lacking} of {len(bounds)} episodes lack the state after their last step, "
            "which Minari stores; write HDF5 or Parquet"
        )
    buffers = [_buffer(episodes, slice(start, end)) for start, end in bounds]
    # The spaces of our vectors: Gymnasium's own environment may show a dictionary.
    with warnings.catch_warnings(), closing(make_environment(episodes.card.env_id)) as env:
        warnings.simplefilter("ignore", UserWarning)  # Minari asks for an author, a code link and the like
        minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            env=specification(episodes.card.env_id),
            observation_space=env.observation_space,
            action_space=env.action_space,
            description=description,
            data_format="hdf5",
        )


def check_new_minari(dataset_id: str) -> None:
    """ValueError unless the id is well formed and free on this machine."""
    try:
        parse_dataset_id(dataset_id)
    except ValueError as error:
        raise ValueError(f"minari:{dataset_id}: not an id such as mine/hopper/medium-v0 ({error})") from error
    if get_dataset_path(dataset_id).exists():
        raise ValueError(f"minari:{dataset_id}: exists already, nothing is overwritten")


def _buffer(episodes: Episodes, rows: slice) -> EpisodeBuffer:
    """One episode in the form that Minari takes: T + 1 observations for T steps."""
    return EpisodeBuffer(
        observations=np.concatenate([episodes.obs[rows], episodes.next_obs[rows][-1:]]),
        actions=episodes.act[rows],
        rewards=episodes.rew[rows],
        terminations=episodes.terminated[rows],
        truncations=episodes.truncated[rows],
        infos={},
    )

"""Write Episodes for other programs: HDF5 in D4RL's layout, Parquet, or a Minari dataset."""

import io
import json
import shutil
import warnings
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gymnasium.envs.registration import EnvSpec
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from dwm_ray.data.checks import Arrays
from dwm_ray.runs.files import atomic_path, check_writable
from dwm_ray.tasks.environments import make_environment, specification
from dwm_ray.types import DataCard, Episodes


def write_hdf5(episodes: Episodes, path: Path, attrs: dict[str, Any] | None = None) -> None:
    """Write D4RL's keys (best gzip level), with the environment and `attrs` as attributes, to a new file.

    `next_observations` is omitted if any next state is unknown, because readers would interpret the filler as a state.
    """
    arrays = _d4rl_arrays(episodes)
    if episodes.known_next.all():
        arrays["next_observations"] = episodes.next_obs
    _check_absent(str(path), path)
    content = io.BytesIO()  # h5py ends the process if it cannot write a file
    with h5py.File(content, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, compression="gzip", compression_opts=9, shuffle=True)
        file.attrs.update({**(attrs or {}), **_environment(episodes.card)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def write_parquet(episodes: Episodes, path: Path) -> None:
    """Write a file from which `parquet.read` returns the same episodes; raise ValueError if it exists."""
    columns = {key: pa.array(x) if x.ndim == 1 else _vectors(x) for key, x in _d4rl_arrays(episodes).items()}
    columns["next_observations"] = _vectors(episodes.next_obs, mask=pa.array(~episodes.known_next))
    table = pa.table(columns).replace_schema_metadata(_environment(episodes.card))
    _check_absent(str(path), path)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_minari(episodes: Episodes, dataset_id: str, description: str) -> None:
    """Create a local Minari dataset (id such as 'mine/hopper/replay-v0') that names the episodes' environment.

    Raises ValueError if the id is invalid or taken, or if the final state of an episode, which Minari stores, is
    unknown.
    """
    check_new_minari(dataset_id)
    bounds = list(zip(episodes.offsets[:-1], episodes.offsets[1:], strict=True))
    incomplete = sum(not episodes.known_next[end - 1] for _, end in bounds)
    if incomplete:
        raise ValueError(
            f"{episodes.card.path}: {incomplete} of {len(bounds)} episodes lack the state after their last step, "
            "which Minari stores; expected --format hdf5 or parquet"
        )
    # Spaces of vectors, because the observations of Gymnasium's own environment may be dictionaries.
    card, env_id = episodes.card, episodes.card.env_id
    if env_id is None:
        raise ValueError(f"{card.path}: has no environment, which Minari stores; expected hdf5 or parquet")
    with (
        warnings.catch_warnings(),
        closing(make_environment(env_id, card.env_options)) as env,
        ExitStack() as on_failure,
    ):
        on_failure.callback(shutil.rmtree, get_dataset_path(dataset_id), ignore_errors=True)
        warnings.simplefilter("ignore", UserWarning)  # Minari requests an author, a code link etc.
        minari.create_dataset_from_buffers(
            dataset_id,
            [_buffer(episodes, slice(start, end)) for start, end in bounds],
            env=_specification(card, env_id),
            observation_space=env.observation_space,
            action_space=env.action_space,
            description=description,
            data_format="hdf5",
        )
        on_failure.pop_all()


def _specification(card: DataCard, env_id: str) -> EnvSpec:
    """Return the specification of the environment with its options; raise ValueError if it has wrappers."""
    spec, options = specification(env_id), card.env_options
    if options.wrappers:
        names = ", ".join(name for name, _ in options.wrappers)
        raise ValueError(f"{card.name}: its environment has the wrappers {names}; expected another format than Minari")
    limit = options.max_episode_steps or spec.max_episode_steps
    return replace(spec, kwargs={**spec.kwargs, **json.loads(options.kwargs)}, max_episode_steps=limit)


Format = Literal["hdf5", "parquet", "minari"]


def write(episodes: Episodes, kind: Format, out: str, facts: dict[str, Any]) -> None:
    """Write a new file or Minari dataset; `facts` are attributes of HDF5 and the description of Minari's."""
    if kind == "minari":
        write_minari(episodes, out, ", ".join(f"{key}: {value}" for key, value in facts.items()))
    elif kind == "parquet":
        write_parquet(episodes, Path(out))
    else:
        write_hdf5(episodes, Path(out), facts)


def check_new(kind: Format, out: str) -> None:
    """Raise ValueError unless `write` can write to `out`: the id of a new dataset, or the path of a new file.

    The folder of the file is created.
    """
    if kind == "minari":
        check_new_minari(out)
        return
    path = Path(out)
    _check_absent(f"--out {path}", path)
    if path.suffix != f".{kind}":
        raise ValueError(f"--out {path}: unknown suffix {path.suffix!r}; expected .{kind}")
    check_writable("--out", path)


def check_new_minari(dataset_id: str) -> None:
    """Raise ValueError unless the id is valid and unused on this machine."""
    try:
        parse_dataset_id(dataset_id)
    except ValueError as error:
        raise ValueError(
            f"minari:{dataset_id}: not a dataset id ({error}); expected one such as mine/hopper/medium-v0"
        ) from error
    _check_absent(f"minari:{dataset_id}", get_dataset_path(dataset_id))


def _check_absent(target: str, path: Path) -> None:
    if path.exists():
        raise ValueError(f"{target}: exists already; expected a new name, because nothing is overwritten")


def _environment(card: DataCard) -> dict[str, str]:
    """Return the attributes that name the environment of the data, none for data without one."""
    return {"env_id": card.env_id or "", **card.env_options.attributes()}


def _d4rl_arrays(episodes: Episodes) -> Arrays:
    return {
        "observations": episodes.obs,
        "actions": episodes.act,
        "rewards": episodes.rew,
        "terminals": episodes.terminated,
        "timeouts": episodes.truncated,
    }


def _vectors(array: np.ndarray, mask: pa.Array | None = None) -> pa.Array:
    """Return rows [N, D] as fixed-size lists, null where `mask` is True."""
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1], mask=mask)


def _buffer(episodes: Episodes, rows: slice) -> EpisodeBuffer:
    """Return one episode in Minari's form: T + 1 observations for T steps."""
    return EpisodeBuffer(
        observations=np.concatenate([episodes.obs[rows], episodes.next_obs[rows][-1:]]),
        actions=episodes.act[rows],
        rewards=episodes.rew[rows],
        terminations=episodes.terminated[rows],
        truncations=episodes.truncated[rows],
        infos={},
    )

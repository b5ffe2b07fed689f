"""Which recording a task means: the user's file, a Minari set, D4RL's own file, or the bundled one, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from dwm_ray.data import bundled, d4rl, minari, parquet
from dwm_ray.options import DataConfig
from dwm_ray.tasks.spaces import spaces_of
from dwm_ray.tasks.table import MINARI_TASKS, TaskSpec, check_name
from dwm_ray.types import Episodes

MINARI_PREFIX = "minari:"
READERS = {".hdf5": d4rl.read, ".h5": d4rl.read, ".parquet": parquet.read}


def load_episodes(task: str, config: DataConfig, download: bool = False) -> Episodes:
    """The data of a task. The card's `source` says whose recording it is. ValueError names the option at fault."""
    if config.file is not None:
        return _from_file(Path(config.file).expanduser(), task, config.env)
    if task.startswith(MINARI_PREFIX):
        return minari.read(task.removeprefix(MINARI_PREFIX), download, config.env)
    check_name(task)
    if config.env is not None:
        raise ValueError(f"--data.env {config.env}: only together with --data.file; {task} names its environment")
    return _from_minari(task, download) if task in MINARI_TASKS else _from_table(task, download)


def _from_minari(task: str, download: bool) -> Episodes:
    known = MINARI_TASKS[task]
    try:
        spaces_of(known.env_id)  # a missing package is said before the download
    except ValueError as error:
        raise ValueError(f"--task {task}: {error}") from error
    return minari.read(known.dataset, download)


def _from_file(path: Path, name: str, env_id: str | None) -> Episodes:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"--data.file {path}: unknown suffix {path.suffix!r}; expected {', '.join(READERS)}")
    return reader(path, name, "file", env_id)


def _from_table(task: str, download: bool) -> Episodes:
    own = d4rl.find(task)
    recording = bundled.find(task)
    if own is None and download:
        own = _download(task)
    if own is not None:
        return d4rl.read(own, task, "D4RL v2", None)
    if recording is not None:
        return d4rl.read(recording, task, bundled.SOURCE, None)
    raise ValueError(
        f"--task {task}: no data on this machine. Bundled: {', '.join(bundled.tasks())}. --execution.download fetches "
        f"D4RL's file (or put {d4rl.file_name(task)} into {d4rl.folder()}); "
        "--data.file FILE --data.env ENV reads your own"
    )


def _download(task: str) -> Path:
    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(d4rl.file_name(task), total=None)
        return d4rl.download(task, lambda done, total: bars.update(bar, completed=done, total=total))


def summary(episodes: Episodes, task: TaskSpec) -> dict[str, Any]:
    """What `data.json` of a run says about its data; returns are undiscounted, scores in `task.score_unit`."""
    returns = episodes.returns()
    card = episodes.card
    return {
        "source": card.source,
        "name": card.name,
        "path": card.path,
        "env_id": card.env_id,
        "transitions": episodes.num_transitions,
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


def describe_line(facts: dict[str, Any]) -> str:
    """Two lines for people from `summary`, and a third where the rewards tell nothing."""
    constant = facts["reward_min"] == facts["reward_max"]
    pointless = constant and (facts["reward_max"] == 0 or not facts["terminated_episodes"])  # else living longer pays
    warning = "\nall rewards are equal: no action is better than another, only imitation can learn from these data"
    return (
        f"{facts['name']}: {facts['source']}, {facts['env_id']}, {facts['transitions']:,} transitions in "
        f"{facts['episodes']:,} episodes ({facts['terminated_episodes']:,} terminated)\n"
        f"returns {facts['return_min']:.0f} to {facts['return_max']:.0f}, mean {facts['return_mean']:.0f} "
        f"(score {facts['score_mean']:.1f}, best {facts['score_max']:.1f}); fingerprint {facts['fingerprint']}"
        f"{warning if pointless else ''}"
    )

"""Find and load the data of a task: a file, a Minari or OGBench dataset, D4RL's own file, or a bundled recording."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from dwm_ray.data import bundled, d4rl, minari, ogbench, parquet
from dwm_ray.data.checks import with_bounds
from dwm_ray.data.download import OnProgress
from dwm_ray.data.environment import NO_ENVIRONMENT, known_spaces
from dwm_ray.options import DataConfig
from dwm_ray.tasks.table import MINARI_TASKS, TASK_NAMES, check_name
from dwm_ray.types import Episodes

MINARI_PREFIX = "minari:"
logger = logging.getLogger(__name__)
READERS = {".hdf5": d4rl.read, ".h5": d4rl.read, ".parquet": parquet.read}


@contextmanager
def _permissions() -> Iterator[None]:
    """Raise ValueError naming the file or folder that the user is not permitted to read."""
    try:
        yield
    except PermissionError as error:
        raise ValueError(
            f"{error.filename}: {error.strerror}; expected a file and folders that you may read"
        ) from error


def load_dataset(
    name: str, env_id: str | None = None, download: bool = False, env_kwargs: str | None = None
) -> Episodes:
    """Load a dataset as numpy arrays.

    Example:
        >>> data = load_dataset("halfcheetah-medium-replay")  # the bundled recording if no file of D4RL exists
        >>> data.obs.shape, data.act.shape, data.rew.shape
        ((50000, 17), (50000, 6), (50000,))
        >>> data.num_episodes, data.card.env_id
        (50, 'HalfCheetah-v5')
        >>> last = slice(data.offsets[-2], data.offsets[-1])  # rows of the last episode
        >>> bool(data.truncated[last][-1])
        True

    Args:
        name: A task ('hopper-medium'), a Minari dataset ('minari:mujoco/hopper/medium-v0'), a single task of OGBench
            ('ogbench:cube-single-play-singletask-v0'), the path of an HDF5 file in D4RL's layout, of a Parquet file
            with the same columns or of a folder of such files, or the folder of a Minari dataset.
        env_id: Gymnasium id of the environment, which overrides the one named by the data. 'none' reads them as data
            without an environment: action bounds are then the lowest and highest recorded actions.
        download: Download D4RL's file or the Minari dataset if it is not on this machine.
        env_kwargs: JSON object of keyword arguments of the environment.

    Returns:
        Transitions of all episodes in file order; see `dwm_ray.types.Episodes` for names and shapes. `card.findings`
        lists contradictions in the data, which are repaired and logged as warnings.

    Raises:
        ValueError: The data cannot be found, read or used. Messages name the file or the command-line option:
            --data.env is `env_id`, --execution.download is `download`.
    """
    episodes = read_dataset(name, DataConfig(env=env_id, env_kwargs=env_kwargs), download)
    for line in (*episodes.card.notes, *episodes.card.findings):
        logger.warning("%s: %s", name, line)
    return episodes


@_permissions()
def read_dataset(name: str, config: DataConfig, download: bool = False) -> Episodes:
    """Load a dataset as `load_dataset` does, but without warnings; its card contains notes and findings."""
    path = Path(name).expanduser()
    if path.suffix.lower() in READERS or path.is_file() or (path.is_dir() and name not in TASK_NAMES):
        return _from_file(path, path.stem, config)
    return _by_name(name, config, download)


@_permissions()
def load_episodes(task: str, config: DataConfig, download: bool = False) -> Episodes:
    """Load the data of a run's task, from `config.file` if there is one; raise ValueError as `load_dataset` does."""
    if config.file is not None and not task.startswith(ogbench.PREFIX):
        return with_bounds(_from_file(Path(config.file).expanduser(), task, config), config)
    return with_bounds(_by_name(task, config, download), config)


def _by_name(task: str, config: DataConfig, download: bool) -> Episodes:
    if task.startswith(ogbench.PREFIX):
        name = task.removeprefix(ogbench.PREFIX)
        with _download_bar(name) if download else nullcontext() as on_progress:
            return ogbench.read(name, config.file, on_progress, config.env, config.env_kwargs)
    if task.startswith(MINARI_PREFIX):
        return minari.read(task.removeprefix(MINARI_PREFIX), download, config.env, config.env_kwargs)
    check_name(task)
    if task not in MINARI_TASKS:
        return _from_table(task, config, download)
    minari_task = MINARI_TASKS[task]
    if config.env != NO_ENVIRONMENT:  # a missing package is reported before the download
        known_spaces(f"--task {task}", config.env or minari_task.env_id)
    return minari.read(minari_task.dataset, download, config.env, config.env_kwargs)


def _from_file(path: Path, name: str, config: DataConfig) -> Episodes:
    """Read a file, a folder of Parquet files or the folder of a Minari dataset."""
    folders = (path, path / "data", path.parent)
    dataset = next((candidate for candidate in folders if (candidate / minari.MAIN_FILE).is_file()), None)
    if dataset is not None and (path.is_dir() or path.name == minari.MAIN_FILE):
        return minari.read_folder(dataset, name, config.env, config.env_kwargs)
    reader = parquet.read if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"--data.file {path}: unknown suffix {path.suffix!r}; expected {', '.join(READERS)}, or a folder"
        )
    return reader(path, name, "file", config.env, config.env_kwargs)


def _from_table(task: str, config: DataConfig, download: bool) -> Episodes:
    path = d4rl.find(task)
    if path is None and download:
        with _download_bar(d4rl.file_name(task)) as on_progress:
            path = d4rl.download(task, on_progress)
    file, source = (path, "D4RL v2") if path else (bundled.find(task), bundled.SOURCE)
    if file is not None:
        return d4rl.read(file, task, source, config.env, config.env_kwargs)
    raise ValueError(
        f"--task {task}: no data on this machine; expected {d4rl.file_name(task)} in {d4rl.folder()} "
        "(--execution.download fetches it), a file of your own (--data.file FILE --data.env ENV) or a bundled task: "
        f"{', '.join(bundled.tasks())}"
    )


@contextmanager
def _download_bar(name: str) -> Iterator[OnProgress]:
    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)

"""Make the bundled recording from a full one: every fourth episode, in D4RL's layout.

Usage: python -m dwm_ray.data.bundled.make SOURCE.hdf5 [FOLDER]
The result depends only on the content of the source.
"""

from pathlib import Path

import h5py
import numpy as np
import tyro

from dwm_ray.data import bundled, d4rl
from dwm_ray.data.export import write_hdf5
from dwm_ray.data.split import take

KEEP_EVERY = 4


def thin(source: Path, folder: Path) -> Path:
    """Write episodes 0, 4, 8, ... of `source` to folder/STEM-quarter.hdf5 and return its path."""
    episodes = d4rl.read(source, source.stem, "file", None)
    quarter = take(episodes, np.arange(0, episodes.num_episodes, KEEP_EVERY))
    with h5py.File(source) as file:
        attrs = dict(file.attrs)
    attrs["selection"] = f"every fourth episode (0, 4, 8, ...) of the {episodes.num_episodes} in {source.name}"
    attrs["transitions"] = quarter.num_transitions
    target = folder / f"{source.stem}-quarter.hdf5"
    write_hdf5(quarter, target, attrs)
    return target


def main(source: Path, folder: Path = bundled.FOLDER, /) -> None:
    """Make the bundled recording."""
    target = thin(source, folder)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    tyro.cli(main)

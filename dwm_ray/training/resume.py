"""What training goes on from: a trainer's state, in the folder of a trial or world model till that is done.

All that counts is in one file, so that it is the old state or the new one whenever the process ends. It is what members
of populations go on from, and all without Ray. (Of a trial alone on Ray, and a world model, Ray Train keeps the same
state: `distributed/checkpoints`.)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dwm_ray.runs import tensor_files

NAME = "trainer"


def resume_folder(path: Path) -> Path:
    return path / "resume"


def save_state(path: Path, state: dict[str, Tensor], seconds: float) -> None:
    """Keep a trainer's `state_dict` and the seconds of work that it took, in place of what was kept before."""
    spent = {"seconds": torch.tensor(seconds, dtype=torch.float64)}
    tensor_files.save(resume_folder(path), NAME, state | spent, {"update": int(state["update"]), "seconds": seconds})


def load_state(path: Path) -> tuple[dict[str, Tensor], float] | None:
    """The state that was kept, on the CPU, and the seconds; None where there is none. ValueError where it is broken."""
    if not _is_kept(path):
        return None
    state, _ = tensor_files.load(resume_folder(path), NAME)
    return state, float(state.pop("seconds"))


def update_kept(path: Path) -> int:
    """The update of the state that was kept; 0 where there is none."""
    return int(tensor_files.load_one(resume_folder(path), NAME, "update")) if _is_kept(path) else 0


def _is_kept(path: Path) -> bool:
    return (resume_folder(path) / f"{NAME}.json").is_file()

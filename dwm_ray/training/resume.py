"""What a learner without Ray goes on from: its trainer's state, in its trial's folder until the trial is done.

All that counts is in one file, so that it is the old state or the new one whenever the process ends. (On Ray, Ray Train
keeps the same state: `distributed/checkpoints`.)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dwm_ray import checkpoint

NAME = "trainer"


def resume_folder(trial: Path) -> Path:
    return trial / "resume"


def save_state(trial: Path, state: dict[str, Tensor], seconds: float) -> None:
    """Keep a trainer's `state_dict` and the seconds of work that it took, in place of what was kept before."""
    spent = {"seconds": torch.tensor(seconds, dtype=torch.float64)}
    checkpoint.save(resume_folder(trial), NAME, state | spent, {"update": int(state["update"]), "seconds": seconds})


def load_state(trial: Path) -> tuple[dict[str, Tensor], float] | None:
    """The state that was kept, on the CPU, and the seconds; None where there is none. ValueError where it is broken."""
    if not _is_kept(trial):
        return None
    state, _ = checkpoint.load(resume_folder(trial), NAME)
    return state, float(state.pop("seconds"))


def update_kept(trial: Path) -> int:
    """The update of the state that was kept; 0 where there is none."""
    return int(checkpoint.load_one(resume_folder(trial), NAME, "update")) if _is_kept(trial) else 0


def _is_kept(trial: Path) -> bool:
    return (resume_folder(trial) / f"{NAME}.json").is_file()

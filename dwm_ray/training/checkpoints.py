"""Resume checkpoints of unfinished trials and world models, in one format for all executors and population sizes.

The state is one file, which is replaced atomically.
"""

from pathlib import Path

import torch
from torch import Tensor

from dwm_ray.runs import tensor_files
from dwm_ray.runs.folder import RunFolder, read_json

NAME = "trainer"


def resume_folder(path: Path) -> Path:
    """Return the folder of the checkpoint below a trial's or world model's folder."""
    return path / "resume"


def save_state(path: Path, state: dict[str, Tensor], seconds: float) -> None:
    """Replace the checkpoint with `state` (which has an "update") and the seconds of training so far."""
    spent = {"seconds": torch.tensor(seconds, dtype=torch.float64)}
    tensor_files.save(resume_folder(path), NAME, state | spent, {"update": int(state["update"]), "seconds": seconds})


def load_state(path: Path) -> tuple[dict[str, Tensor], float] | None:
    """Return the saved state on the CPU and its seconds, or None; raise ValueError if the file is broken."""
    if not _exists(path):
        return None
    state, _ = tensor_files.load(resume_folder(path), NAME)
    return state, float(state.pop("seconds"))


def saved_update(path: Path) -> int:
    """Return the update of the checkpoint, 0 if there is none."""
    return int(tensor_files.load_one(resume_folder(path), NAME, "update")) if _exists(path) else 0


def remove_checkpoint(run: RunFolder, path: Path) -> None:
    """Delete the checkpoint of a trial or world model that is complete."""
    status = read_json(path / "status.json") or {}
    if resume_folder(path).is_dir() and (status.get("status") == "done" or status.get("trained")):
        run.remove(resume_folder(path))


def remove_leftovers(run: RunFolder) -> None:
    """Delete checkpoints of complete trials and world models that a killed process left behind."""
    for status in run.root.glob("*/*/status.json"):
        remove_checkpoint(run, status.parent)


def _exists(path: Path) -> bool:
    return (resume_folder(path) / f"{NAME}.json").is_file()

"""Choose the trial of a run to export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwm_ray.report.collect import collect_results
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.stores import has_policy


@dataclass(frozen=True)
class ChosenTrial:
    """Trial with a saved policy, and its entries in the run's results."""

    run: RunFolder
    row: dict[str, Any]
    """Entry of `trials` in results.json."""
    results: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        return self.run.trial(self.row["id"]) / "checkpoint"


def choose_trial(address: str, trial_id: str | None) -> ChosenTrial:
    """Return a trial of the run at `address`, by default the best one; raise ValueError if there is none.

    `address` is the folder of a run, its address in remote storage, or the folder of a trial.
    """
    if (Path(address) / "checkpoint").is_dir():
        address, trial_id = str(Path(address).resolve().parents[1]), trial_id or Path(address).resolve().name
    run = RunFolder.open(address)
    run.pull(run.root / "trials", weights=True)
    results = collect_results(run.root)
    saved = {row["id"]: row for row in results["trials"] if has_policy(run.trial(row["id"]))}
    if trial_id is None and results["best"] is not None:
        trial_id = results["best"]["id"]
    if trial_id not in saved:
        what = "no trial has finished" if trial_id is None else f"--trial {trial_id}: has no saved policy"
        raise ValueError(f"{run.address}: {what}; expected {', '.join(saved) or 'a run with a finished trial'}")
    return ChosenTrial(run, saved[trial_id], results)

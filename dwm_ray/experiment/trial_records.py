"""Record the trials of a sweep in the run folder."""

from __future__ import annotations

from collections.abc import Sequence

from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFolder, status_of
from dwm_ray.runs.tensor_files import write_json

FINISHED = ("done", "stopped")


def unfinished(trials: Sequence[Trial], run: RunFolder) -> list[Trial]:
    """Return the trials that still have to run, after recording them."""
    remaining = [trial for trial in trials if status_of(run.trial(trial.id)) not in FINISHED]
    record_trials(remaining, run)
    return remaining


def record_trials(trials: Sequence[Trial], run: RunFolder) -> None:
    """Write `config.json` and `values.json` to each trial's folder."""
    files = {run.trial(trial.id) / "config.json": trial.config.model_dump(mode="json") for trial in trials}
    files |= {run.trial(trial.id) / "values.json": trial.values for trial in trials}
    with run.writing(*files):
        for path, value in files.items():
            write_json(path, value)

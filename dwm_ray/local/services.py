"""Services for learners in this process: train world models and generate streams."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.devices import default_device
from dwm_ray.local.streams import read_stream
from dwm_ray.replay.on_policy import LocalRollouts, RolloutContext
from dwm_ray.replay.sources import by_stream
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.fit_world_model import is_trained, train_world_model, trained_model
from dwm_ray.training.services import RingWithGauges
from dwm_ray.world_models.base import WorldModel, sampling_options
from dwm_ray.world_models.parts.build import model_fingerprint


class LocalServices:
    """Services of one process; see `training.services.Services`."""

    def __init__(
        self,
        task_data: TaskData,
        run: RunFolder,
        model: WorldModel | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Use `model`, if given, instead of every trained world model; `device` defaults to `default_device`."""
        self._task_data, self._run, self._model, self._device = task_data, run, model, device or default_device()

    def world_model(self, config: RunConfig) -> WorldModel:
        """Load the run's world model; train it first if it is not in the run folder."""
        if self._model is not None:
            return self._model.with_options(sampling_options(config))
        name = model_fingerprint(config, self._task_data.identity)
        folder = self._run.fetched(self._run.world_model(name))
        if not is_trained(folder):
            train_world_model(config, self._task_data, self._run, self._device)
        self._run.push(folder)  # an earlier upload may have failed
        return trained_model(config, folder, self._device)

    @contextmanager
    def streams(self, configs: Sequence[RunConfig]) -> Iterator[dict[str, RingWithGauges]]:
        """Generate whole streams; stored blocks are read instead."""
        rows: dict[str, RingWithGauges] = {}
        for group in by_stream(configs, self._task_data):
            rings = read_stream(group, self._task_data, self.world_model(group[0]), self._run, self._device)
            rows |= {key: RingWithGauges(ring) for key, ring in rings.items()}
        yield rows

    def rollouts(self, config: RunConfig, context: RolloutContext) -> LocalRollouts:
        """Generate rollouts in this process."""
        return LocalRollouts(config, context)

    def on_row(self, trial_id: str, row: dict[str, Any]) -> None:
        """Do nothing: rows are in the trial's folder."""

"""Batches of recorded futures, gathered from recorded transitions, which are stored once per device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.transitions import fused_rows, last_steps
from dwm_ray.replay.mixture import num_recorded
from dwm_ray.replay.ring import Padding
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Segments


def recorded_sources(configs: Sequence[RunConfig], task_data: TaskData, device: torch.device) -> list[BatchSource]:
    """Return the batch sources of a population, including model-free members, padded to its longest horizon."""
    longest = max(map(num_steps, configs))
    return [RecordedSource(config, task_data, device, longest) for config in configs]


def num_steps(config: RunConfig) -> int:
    """Return the number of steps in a run's recorded futures; 1 without a world model."""
    return 1 if config.world_model is None else config.synthesis.horizon


class RecordedFutures:
    """Segments of recorded steps that start at every recorded transition, gathered when they are sampled.

    A segment has up to `horizon` steps and ends with its recording (`last_steps`). Padding equals `Segments.padded`: a
    truncated episode bootstraps from its last known state, a terminated one has discount 0.
    """

    def __init__(self, config: RunConfig, task_data: TaskData, device: torch.device, padded: int | None = None) -> None:
        """Pad segments to `padded` steps (default: the horizon), but not beyond the longest recorded future."""
        discount, self.horizon = config.training.discount, num_steps(config)
        self._rows, step = fused_rows(task_data.episodes, discount, device, config.agent.plugin.uses_next_act)
        self._last, longest = last_steps(task_data.episodes, device)
        self.device = device
        self.shape = step.padded(min(padded or self.horizon, longest))
        self._widths = (*[step.obs_size] * 2, *step.parts[1:])
        self._steps = torch.arange(self.shape.horizon, device=device)

    def gather_into(
        self,
        out: Tensor,
        generator: torch.Generator,
        padding: Padding | None = None,
        extra_steps: int | Tensor | None = None,
    ) -> None:
        """Fill `out` [B, width] as `Ring.gather_into` does. Segments have `extra_steps` + 1 steps."""
        if padding is not None:
            short = out.new_empty(len(out), self.shape.width)
            self.gather_into(short, generator, extra_steps=extra_steps)
            padding.write(short, out)
            return
        start = torch.randint(len(self._rows), (len(out), 1), generator=generator, device=self.device)
        last = start + (self.horizon - 1 if extra_steps is None else extra_steps)
        last = torch.minimum(last, self._last.index_select(0, start.flatten())[:, None])
        index = start + self._steps  # [B, H]
        rows = torch.minimum(index, last).flatten()
        self._write(self._rows.index_select(0, rows).view(*index.shape, -1), index > last, self.shape.split(out))

    def _write(self, steps: Tensor, is_padding: Tensor, out: Segments) -> None:
        """Write recorded steps [B, H, width] to segments; padding [B, H] has reward 0 and discount 1."""
        obs, next_obs, act, rew, discount, _, _, *next_act = steps.split(self._widths, -1)
        out.obs[:, 0], out.obs[:, 1:], out.act[:, 0] = obs[:, 0], next_obs, act[:, 0]
        out.rew.copy_(rew.squeeze(-1).masked_fill(is_padding, 0.0))
        out.discount.copy_(discount.squeeze(-1).masked_fill(is_padding, 1.0))
        out.penalty.zero_()
        out.source.zero_()
        if out.next_act is not None:
            out.next_act.copy_(next_act[0][:, -1])


class RecordedSource(BatchSource):
    """Batch source of recorded futures; a fraction `replay.real_ratio` of its rows are single transitions."""

    def __init__(self, config: RunConfig, task_data: TaskData, device: torch.device, padded: int | None = None) -> None:
        """Pad batches as `RecordedFutures` does."""
        self._futures = RecordedFutures(config, task_data, device, padded)
        self.batch_size, self.device, self.shape = config.training.batch_size, device, self._futures.shape
        self._extra_steps = torch.full((self.batch_size, 1), num_steps(config) - 1, device=device)
        self._extra_steps[: num_recorded(config.replay.real_ratio, self.batch_size)] = 0

    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width], transitions first."""
        self._futures.gather_into(rows, generator, extra_steps=self._extra_steps)

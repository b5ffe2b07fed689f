"""Batches of recorded futures, gathered from the recorded transitions, which are stored once per device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.transitions import fused_rows, last_steps
from dwm_ray.replay.mixture import num_real
from dwm_ray.replay.source import BatchSource


def recorded_sources(configs: Sequence[RunConfig], task_data: TaskData, device: torch.device) -> list[BatchSource]:
    """Return the sources of a population, whose batches are padded to its longest horizon."""
    longest = max(config.synthesis.horizon for config in configs)
    return [RecordedSource(config, task_data, device, longest) for config in configs]


class RecordedSource(BatchSource):
    """Batch source of segments that consist of recorded steps.

    A segment has up to `synthesis.horizon` steps and ends with its recording (`last_steps`). It is padded as by
    `Segments.padded`: a truncated episode bootstraps from its last known state, a terminated one has discount 0.
    """

    def __init__(self, config: RunConfig, task_data: TaskData, device: torch.device, padded: int | None = None) -> None:
        """Pad batches to `padded` steps (default: the horizon), but not beyond the longest recorded future."""
        discount, horizon = config.training.discount, config.synthesis.horizon
        self._rows, step = fused_rows(task_data.episodes, discount, device, config.agent.plugin.uses_next_act)
        self._last, longest = last_steps(task_data.episodes, device)
        self.batch_size, self.device = config.training.batch_size, device
        self.shape = step.padded(min(padded or horizon, longest))
        self._widths = (*[step.obs_size] * 2, *step.parts[1:])
        self._steps = torch.arange(self.shape.horizon, device=device)
        self._reach = torch.full((self.batch_size, 1), horizon - 1, device=device)
        self._reach[: num_real(config.replay.real_ratio, self.batch_size)] = 0  # these rows stay transitions

    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width], transitions first."""
        start = torch.randint(len(self._rows), (self.batch_size, 1), generator=generator, device=self.device)
        last = torch.minimum(start + self._reach, self._last.index_select(0, start.flatten())[:, None])
        index = start + self._steps  # [B, H]
        is_padding = index > last
        chosen = torch.minimum(index, last).flatten()
        steps = self._rows.index_select(0, chosen).view(*index.shape, -1)
        obs, next_obs, act, rew, discount, _, _, *next_act = steps.split(self._widths, -1)
        out = self.shape.split(rows)
        out.obs[:, 0], out.obs[:, 1:], out.act[:, 0] = obs[:, 0], next_obs, act[:, 0]
        out.rew.copy_(rew.squeeze(-1).masked_fill(is_padding, 0.0))
        out.discount.copy_(discount.squeeze(-1).masked_fill(is_padding, 1.0))
        out.penalty.zero_()
        out.source.zero_()
        if out.next_act is not None:
            out.next_act.copy_(next_act[0][:, -1])

"""Choose and build the batch source of a run, and group runs that share a stream.

| kind | used by | batches |
|---|---|---|
| transitions | runs without a world model, agents that plan | recorded transitions |
| recorded | recorded futures | segments of recorded steps (`recorded`) |
| stream | policy-independent models (DWM, DAWM, ...) | segments generated ahead of time, mixed with recorded ones |
| on-policy | policy-dependent models that make transitions (DyDiff, MOPO) | rollouts of recent policies (`on_policy`) |
| inline | other policy-dependent models (one-step baselines) | rollouts within each update (`InlineSource`) |
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.blocks.stream import StreamSpec, generate_from
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import TaskData
from dwm_ray.data.transitions import fused_rows
from dwm_ray.options import ReplayConfig, fingerprint
from dwm_ray.replay.mixture import Mixture, RowSource, num_recorded
from dwm_ray.replay.recorded import RecordedFutures
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Termination
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.parts.build import model_fingerprint

SourceKind = Literal["transitions", "recorded", "stream", "on-policy", "inline"]


def source_kind(config: RunConfig) -> SourceKind:
    """Return the kind of batch source that a run needs; see the table above."""
    if config.world_model is None or config.agent.plugin.plans:
        return "transitions"
    model = config.world_model.plugin
    if not model.trained:
        return "recorded"
    if not model.follows_policy:
        return "stream"
    return "on-policy" if model.makes_transitions else "inline"


def selection(config: RunConfig) -> Selection:
    """Return the rule by which a run's learner selects imagined rows."""
    assert config.world_model is not None
    transitions = config.world_model.plugin.makes_transitions
    return Selection(config.filter.plugin(config.filter), config.synthesis.horizon, transitions)


def start_rtg(config: RunConfig, task_data: TaskData, device: torch.device) -> Tensor:
    """Return the return-to-go [N] of a run's start pairs."""
    target, discount = config.synthesis.target_rtg, config.training.discount
    return task_data.start_rtg(target, discount, config.world_model, device)


def recorded_ring(config: RunConfig, task_data: TaskData, device: torch.device) -> Ring:
    """Return the recorded transitions as a ring of segments of length 1 on `device`."""
    with_next_act = config.agent.plugin.uses_next_act
    return Ring.of_recorded(*fused_rows(task_data.episodes, config.training.discount, device, with_next_act))


class SelectedRing:
    """Ring of the rows that a learner selects from its stream, filled block by block."""

    def __init__(self, spec: StreamSpec, select: Selection, replay: ReplayConfig, device: torch.device) -> None:
        self._spec, self._select, self._device = spec, select, device
        self._capacity = min(replay.capacity, spec.num_segments * select.rows_per_segment)
        self._min_rows = replay.min_synthetic
        self._ring: Ring | None = None

    @property
    def ring(self) -> Ring:
        """The ring; available after the first block, which determines its shape."""
        assert self._ring is not None
        return self._ring

    @property
    def size(self) -> int:
        """Number of rows that can be sampled."""
        return self._ring.size if self._ring else 0

    @property
    def is_ready(self) -> bool:
        """Whether `replay.min_synthetic` rows have been added."""
        return self._ring is not None and self._ring.num_added >= self._min_rows

    def add(self, index: int, block: np.ndarray, shape: SegmentShape) -> None:
        """Copy the selected rows of block `index` (fused rows [rows, width]) into the ring."""
        rows = self._select.apply_to_block(self._spec, index, torch.tensor(block, device=self._device), shape)
        if self._ring is None:
            self._ring = Ring(self._capacity, self._select.shape(shape), self._device)
        self._ring.add(rows)


def recorded_rows(config: RunConfig, task_data: TaskData, transitions: Ring, longest: int) -> RowSource:
    """Return the recorded rows of a run's mixture: transitions, or futures if `replay.real_steps` is 'horizon'."""
    if source_kind(config) == "transitions" or config.replay.real_steps == "one":
        return transitions
    return RecordedFutures(config, task_data, transitions.device, longest)


def row_horizon(config: RunConfig, imagined: Ring | None) -> int:
    """Return the number of steps in the longest rows of a run's mixture."""
    if imagined is None:
        return 1
    return max(imagined.shape.horizon, config.synthesis.horizon if config.replay.real_steps == "horizon" else 1)


def mixture(config: RunConfig, recorded: RowSource, imagined: Ring | None, horizon: int | None = None) -> Mixture:
    """Return a source of recorded rows, mixed with imagined rows if there are any."""
    ratio = 1.0 if imagined is None else config.replay.real_ratio
    return Mixture(recorded, imagined, ratio, config.training.batch_size, horizon)


class InlineSource(BatchSource):
    """Batch source that rolls out the world model with the agent's current policy for every batch."""

    def __init__(
        self,
        config: RunConfig,
        recorded: Ring,
        model: WorldModel,
        agent: Agent,
        rule: Termination,
        generator: torch.Generator,
        rtg: Tensor,
    ) -> None:
        """Sample the noise of policy and model from `generator`; `rtg` is the result of `start_rtg`."""
        self._model, self._agent, self._rule, self._generator = model, agent, rule, generator
        self._horizon, self._rtg = config.synthesis.horizon, rtg
        self._discount = config.training.discount
        self.batch_size, self.device = config.training.batch_size, recorded.device
        self.shape = recorded.shape.padded(self._horizon)
        self._num_recorded = num_recorded(config.replay.real_ratio, self.batch_size)
        self._recorded = recorded

    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width]: a fraction `real_ratio` is recorded; the model continues the other start pairs."""
        fused = torch.empty(self.batch_size, self._recorded.shape.width, device=self.device)
        index = self._recorded.gather_into(fused, generator)
        recorded = self._recorded.shape.split(fused)
        imagined = generate_from(
            self._model,
            recorded[self._num_recorded :],
            self._rule,
            self._discount,
            policy=lambda obs, step: self._agent.explore(obs, self._generator),
            horizon=self._horizon,
            rtg=self._rtg[index[self._num_recorded :]],
            generator=self._generator,
        )
        rows[: self._num_recorded] = self.shape.fuse(recorded[: self._num_recorded].padded(self._horizon))
        rows[self._num_recorded :] = self.shape.fuse(imagined.with_first_action())


def stream_of(config: RunConfig, task_data: TaskData) -> StreamSpec:
    """Return the specification of the stream that a run learns from."""
    data = task_data.identity
    return StreamSpec.of(config, model_fingerprint(config, data), data.num_pairs)


def ring_key(config: RunConfig, task_data: TaskData) -> str:
    """Return a key that is equal for runs that select the same rows of the same stream."""
    rule = config.filter.model_dump(mode="json"), config.filter.plugin_name()
    return fingerprint(
        [stream_of(config, task_data).fingerprint, rule, config.synthesis.horizon, config.replay.capacity]
    )


def by_stream(configs: Sequence[RunConfig], task_data: TaskData) -> list[list[RunConfig]]:
    """Group runs by their stream."""
    streams = defaultdict[str, list[RunConfig]](list)
    for config in configs:
        streams[stream_of(config, task_data).fingerprint].append(config)
    return list(streams.values())


def stream_rings(configs: Sequence[RunConfig], task_data: TaskData, device: torch.device) -> dict[str, SelectedRing]:
    """Return one empty ring per `ring_key` for runs of one stream."""
    spec, rings = stream_of(configs[0], task_data), dict[str, SelectedRing]()
    for config in configs:
        ring = SelectedRing(spec, selection(config), config.replay, device)
        rings.setdefault(ring_key(config, task_data), ring)
    return rings

"""The nouns that every layer speaks.

Legend of shapes: N transitions, E episodes, B batch, T window (sequence length), H horizon, O observation, A action,
M actions kept per segment (1 or H). All values are in raw units; a normaliser lives inside the model that needs it.

`Episodes` and `DataStats` are numpy, because files and environments speak numpy; `Windows` and `Segments` are torch,
because models do. Time runs along the second axis everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

Metrics = dict[str, Tensor]
"""Named 0-d tensors, still on the device: reading one is a host sync, so only writers do it."""

Policy = Callable[[Tensor, int], Tensor]
"""(observation [B, O], step i >= 0) -> action [B, A]. Most policies ignore the step; logged actions need it."""

Termination = Callable[[Tensor], Tensor]
"""Raw next observation [..., O] -> bool [...]: does the episode end in this state?"""


@dataclass(frozen=True)
class DataCard:
    """Where a data set comes from and how it is known again."""

    name: str
    """Short name, such as 'halfcheetah-medium-replay'."""
    source: str
    """Who recorded it, in words that never claim another's name: 'bundled SAC recording', 'D4RL v2', 'Minari', ..."""
    path: str
    env_id: str
    """Gymnasium id of the environment that the data were recorded in, such as 'HalfCheetah-v5'."""
    fingerprint: str
    """16 hex digits over the content of the arrays."""


@dataclass(frozen=True)
class Spaces:
    """Sizes and action bounds of a task."""

    obs_size: int
    act_size: int
    act_low: tuple[float, ...]
    act_high: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Logged transitions, episode after episode, as float32 numpy arrays.

    Every episode's last row has `terminated` or `truncated` set. `known_next` is False where the recording lacks the
    next observation (the last row of an episode in files without `next_observations`): such a row is no transition
    unless it terminated, and no window reads its `next_obs`.
    """

    obs: np.ndarray  # [N, O]
    act: np.ndarray  # [N, A]
    rew: np.ndarray  # [N]
    next_obs: np.ndarray  # [N, O]
    terminated: np.ndarray  # [N] bool: the task ended, nothing follows
    truncated: np.ndarray  # [N] bool: the recording ended, something would have followed
    known_next: np.ndarray  # [N] bool
    card: DataCard
    spaces: Spaces

    @property
    def num_transitions(self) -> int:
        return len(self.rew)

    @property
    def offsets(self) -> np.ndarray:
        """[E + 1] int64: episode e is rows offsets[e]:offsets[e + 1]."""
        ends = np.flatnonzero(self.terminated | self.truncated) + 1
        return np.concatenate([[0], ends]).astype(np.int64)

    @property
    def num_episodes(self) -> int:
        return len(self.offsets) - 1

    def returns(self) -> np.ndarray:
        """[E] undiscounted return of each episode."""
        return np.add.reduceat(self.rew.astype(np.float64), self.offsets[:-1])


@dataclass(frozen=True)
class DataStats:
    """What agents and models may know of the real data, computed once (`data.statistics.describe`)."""

    obs_mean: np.ndarray  # [O]
    obs_std: np.ndarray  # [O]
    rew_min: float
    rew_max: float
    return_min: float  # undiscounted, of an episode
    return_max: float
    rtg_min: float  # discounted return-to-go, raw reward units
    rtg_max: float


@dataclass(frozen=True)
class Windows:
    """Training windows of a world model. Padding repeats the last valid entry and is marked in the masks."""

    obs: Tensor  # [B, T, O]; entry i is s_{t+i}; includes the state after the last transition where it is known
    act: Tensor  # [B, T, A]
    rew: Tensor  # [B, T]
    obs_mask: Tensor  # [B, T] bool: the state is recorded
    step_mask: Tensor  # [B, T] bool: action and reward are recorded
    terminated: Tensor  # [B, T] bool: the transition from entry i ended the task
    rtg: Tensor  # [B]; in units of the task's scale
    scaled: Tensor | None = None  # [B, T, O]; `obs` as the model normalises it, where the set keeps that

    def __len__(self) -> int:
        return self.rtg.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Windows:
        cut: dict[str, Any] = {name: None if part is None else part[rows] for name, part in vars(self).items()}
        return Windows(**cut)


@dataclass(frozen=True)
class Segments:
    """Real or imagined continuations of start pairs (s_t, a_t).

    A real transition is a segment of length 1. Padding a segment to a longer horizon with reward 0, discount 1 and
    the last state repeated leaves every return unchanged, so real and imagined rows share one batch. A batch of a
    population (`agents.population`) has an axis of P members before B.
    """

    obs: Tensor  # [B, H + 1, O]
    act: Tensor  # [B, M, A]
    rew: Tensor  # [B, H]
    discount: Tensor  # [B, H]; gamma, 0 where the task ended
    penalty: Tensor  # [B, H]; disagreement of the model with itself, 0 where it has no opinion
    source: Tensor  # [B]; 0 = data, v >= 1 = version of the model or policy that made the row

    @property
    def horizon(self) -> int:
        return self.rew.shape[-1]

    def __len__(self) -> int:
        return self.rew.shape[0]

    def map(self, fn: Callable[[Tensor], Tensor]) -> Segments:
        return Segments(*(fn(getattr(self, f.name)) for f in fields(self)))

    def __getitem__(self, rows: Tensor | slice) -> Segments:
        return self.map(lambda x: x[rows])

    def to(self, device: torch.device | str) -> Segments:
        return self.map(lambda x: x.to(device, non_blocking=True))

    def prefix(self, horizon: int) -> Segments:
        """The first `horizon` steps: one stream serves every H up to the one it was drawn with."""
        if not 1 <= horizon <= self.horizon:
            raise ValueError(f"horizon {horizon} is outside 1..{self.horizon}, the steps these segments hold")
        keep_act = self.act[:, :1] if self.act.shape[1] == 1 else self.act[:, :horizon]
        return replace(
            self,
            obs=self.obs[:, : horizon + 1],
            act=keep_act,
            rew=self.rew[:, :horizon],
            discount=self.discount[:, :horizon],
            penalty=self.penalty[:, :horizon],
        )

    def padded(self, horizon: int) -> Segments:
        """The same returns over `horizon` steps; see the class."""
        extra = horizon - self.horizon
        if extra < 0:
            raise ValueError(f"cannot pad segments of {self.horizon} steps to {horizon}")
        if extra == 0:
            return self
        tail = self.obs[:, -1:].expand(-1, extra, -1)
        zeros = self.rew.new_zeros(len(self), extra)
        act = self.act if self.act.shape[1] == 1 else torch.cat([self.act, self.act[:, -1:].expand(-1, extra, -1)], 1)
        return replace(
            self,
            obs=torch.cat([self.obs, tail], 1),
            act=act,
            rew=torch.cat([self.rew, zeros], 1),
            discount=torch.cat([self.discount, zeros + 1], 1),
            penalty=torch.cat([self.penalty, zeros], 1),
        )

    def with_first_action(self) -> Segments:
        """Only the action of the start pair is kept (M = 1): all that targets need."""
        return replace(self, act=self.act[:, :1])

    def transitions(self) -> Segments:
        """Every step as a segment of length 1, up to the one that ends the task; needs all actions (M = H). Order: row
        by row, step by step."""
        if self.act.shape[1] != self.horizon:
            raise ValueError(f"segments hold {self.act.shape[1]} actions for {self.horizon} steps: no transitions")
        ended = torch.cumsum((self.discount == 0).int(), 1) - (self.discount == 0).int()
        alive = ended == 0  # [B, H]: nothing ended before this step
        pairs = torch.stack([self.obs[:, :-1], self.obs[:, 1:]], 2)  # [B, H, 2, O]
        return Segments(
            obs=pairs[alive],
            act=self.act[alive].unsqueeze(1),
            rew=self.rew[alive].unsqueeze(1),
            discount=self.discount[alive].unsqueeze(1),
            penalty=self.penalty[alive].unsqueeze(1),
            source=self.source.unsqueeze(1).expand_as(alive)[alive],
        )

    @staticmethod
    def cat(parts: list[Segments]) -> Segments:
        return Segments(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Segments)))


@dataclass(frozen=True)
class SegmentShape:
    """How segments lie in one fused float32 row, the format of blocks and rings: one copy and one gather a batch."""

    horizon: int
    obs_size: int
    act_size: int
    num_actions: int

    @property
    def parts(self) -> tuple[int, ...]:
        h = self.horizon
        return ((h + 1) * self.obs_size, self.num_actions * self.act_size, h, h, h, 1)

    @property
    def width(self) -> int:
        return sum(self.parts)

    @staticmethod
    def of(segments: Segments) -> SegmentShape:
        _, num_actions, act_size = segments.act.shape
        return SegmentShape(segments.horizon, segments.obs.shape[2], act_size, num_actions)

    def fuse(self, segments: Segments) -> Tensor:
        """Segments -> rows [B, width]."""
        parts = (getattr(segments, f.name) for f in fields(segments))
        return torch.cat([part.reshape(len(segments), -1).float() for part in parts], dim=1)

    def split(self, rows: Tensor) -> Segments:
        """Rows [..., B, width] -> Segments (views, no copy)."""
        obs, act, rew, discount, penalty, source = rows.split(self.parts, dim=-1)
        return Segments(
            obs.unflatten(-1, (self.horizon + 1, self.obs_size)),
            act.unflatten(-1, (self.num_actions, self.act_size)),
            rew,
            discount,
            penalty,
            source.squeeze(-1),
        )

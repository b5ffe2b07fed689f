"""Data types that every package uses.

Shapes: N transitions, E episodes, B batch, T window (sequence length), H horizon, O observation, A action, M actions
per segment (1 or H). All values are in raw units; a normaliser lives inside the model that needs it. Time runs along
the second axis. `Episodes` and `DataStats` hold numpy arrays, like files and environments; `Windows` and `Segments`
hold tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.env_options import REGISTERED, EnvOptions

Json = dict[str, Any]
"""JSON object."""
Metrics = dict[str, Tensor]
"""Named 0-d tensors on the device. Only writers read them, because reading waits for the device."""

Policy = Callable[[Tensor, int], Tensor]
"""(observation [B, O], step i >= 0) -> action [B, A]. Only policies that replay recorded actions use the step."""

Termination = Callable[[Tensor], Tensor]
"""Raw next observation [..., O] -> bool [...]: whether the episode terminates in this state."""


@dataclass(frozen=True)
class Finding:
    """Contradiction that the checks of recorded data found, and its repair."""

    rows: int
    text: str
    """Description that follows the number of rows, such as 'unmarked episode ends: cut there, as by a time limit'."""

    def __str__(self) -> str:
        return f"{self.rows:,} {self.text}"


@dataclass(frozen=True)
class DataCard:
    """Origin and identity of a dataset."""

    name: str
    """Short name, such as 'halfcheetah-medium-replay'."""
    source: str
    """Origin of the recording: 'bundled SAC recording', 'D4RL v2', 'Minari', ..."""
    path: str
    env_id: str | None
    """Gymnasium id of the environment in which policies are scored, such as 'HalfCheetah-v5'; None without one."""
    fingerprint: str
    """16 hex digits over the content of the arrays."""
    env_options: EnvOptions = REGISTERED
    """Options of the environment in which policies are scored."""
    notes: tuple[str, ...] = ()
    """Decisions about the environment that the user should know."""
    findings: tuple[Finding, ...] = ()
    """Contradictions in the file; the arrays are repaired."""
    is_ordered: bool = True
    """Whether rows follow each other in time; otherwise every row is an episode of its own."""


@dataclass(frozen=True)
class Spaces:
    """Sizes and action bounds of a task."""

    obs_size: int
    act_size: int
    act_low: tuple[float, ...]
    act_high: tuple[float, ...]


@dataclass(frozen=True, eq=False)  # hashed by identity, so that caches can use them as keys
class Episodes:
    """Recorded transitions, episode after episode, as float32 numpy arrays.

    The last row of every episode has `terminated` or `truncated` set. `known_next` is False if the recording lacks the
    next observation (the last row of an episode in files without `next_observations`). Such a row is not a transition
    unless it terminated, and no window reads its `next_obs`.
    """

    obs: np.ndarray  # [N, O]
    act: np.ndarray  # [N, A]
    rew: np.ndarray  # [N]
    next_obs: np.ndarray  # [N, O]
    terminated: np.ndarray  # [N] bool: the task ended
    truncated: np.ndarray  # [N] bool: the recording ended before the task did
    known_next: np.ndarray  # [N] bool
    card: DataCard
    spaces: Spaces

    @property
    def num_transitions(self) -> int:
        """Number of transitions N."""
        return len(self.rew)

    @property
    def offsets(self) -> np.ndarray:
        """[E + 1] int64: episode e consists of the rows offsets[e]:offsets[e + 1]."""
        ends = np.flatnonzero(self.terminated | self.truncated) + 1
        return np.concatenate([[0], ends]).astype(np.int64)

    @property
    def num_episodes(self) -> int:
        """Number of episodes E."""
        return len(self.offsets) - 1

    def returns(self) -> np.ndarray:
        """Return the undiscounted return of each episode [E]."""
        return np.add.reduceat(self.rew.astype(np.float64), self.offsets[:-1])


@dataclass(frozen=True)
class DataStats:
    """Statistics of the recorded data that agents and models may use (`data.statistics.data_stats`)."""

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

    obs: Tensor  # [B, T, O]; entry i is s_{t+i}; includes the state after the last transition if it is known
    act: Tensor  # [B, T, A]
    rew: Tensor  # [B, T]
    obs_mask: Tensor  # [B, T] bool: the state is recorded
    step_mask: Tensor  # [B, T] bool: action and reward are recorded
    terminated: Tensor  # [B, T] bool: the transition from entry i ended the task
    rtg: Tensor  # [B]; in units of the task's scale
    scaled: Tensor | None = None  # [B, T, O]; `obs` normalised by the model, if the window set caches it

    @property
    def transition_mask(self) -> Tensor:
        """[B, T - 1] bool: the step and the state that it leads to are recorded."""
        return self.step_mask[:, :-1] & self.obs_mask[:, 1:]

    def __len__(self) -> int:
        """Return the number of windows B."""
        return self.rtg.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Windows:
        """Return some of the windows."""
        cut: dict[str, Any] = {name: None if tensor is None else tensor[rows] for name, tensor in vars(self).items()}
        return Windows(**cut)


@dataclass(frozen=True)
class Segments:
    """Recorded or imagined continuations of start pairs (s_t, a_t).

    A recorded transition is a segment of length 1. Padding a segment to a longer horizon with reward 0, discount 1 and
    the last state repeated leaves every return unchanged, so recorded and imagined rows share one batch. A batch of a
    population (`agents.parts.population`) has an axis of P members before B.
    """

    obs: Tensor  # [B, H + 1, O]
    act: Tensor  # [B, M, A]
    rew: Tensor  # [B, H]
    discount: Tensor  # [B, H]; gamma, or 0 if the task ended
    penalty: Tensor  # [B, H]; model disagreement, 0 for models without an estimate
    source: Tensor  # [B]; 0 = data, v >= 1 = version of the model or policy that generated the row
    next_act: Tensor | None = None  # [B, A]; recorded action in the last state, NaN if none (`Agent.uses_next_act`)

    @property
    def horizon(self) -> int:
        """Steps per segment H."""
        return self.rew.shape[-1]

    @property
    def alive(self) -> Tensor:
        """[B, H] bool: the task has not ended before the step."""
        before = self.discount[..., :-1] > 0
        return torch.cat([torch.ones_like(self.discount[..., :1], dtype=torch.bool), before.cumprod(-1) > 0], -1)

    def reward_sum(self) -> Tensor:
        """Return the discounted sum [B] of the rewards up to the end of the task (DyDiff, section 4.3)."""
        before = torch.cat([torch.ones_like(self.rew[..., :1]), self.discount[..., :-1]], -1)
        return (before.cumprod(-1) * self.rew).sum(-1)

    def __len__(self) -> int:
        """Return the number of segments B (members P for a batch of a population)."""
        return self.rew.shape[0]

    def tensors(self) -> dict[str, Any]:
        """Return the tensors by name, without `next_act` if the segments lack it."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    def map(self, fn: Callable[[Tensor], Tensor]) -> Segments:
        """Apply a function to every tensor."""
        return Segments(**{name: fn(tensor) for name, tensor in self.tensors().items()})

    def __getitem__(self, rows: Tensor | slice) -> Segments:
        """Return some of the segments."""
        return self.map(lambda x: x[rows])

    def to(self, device: torch.device | str) -> Segments:
        return self.map(lambda x: x.to(device, non_blocking=True))

    def prefix(self, horizon: int) -> Segments:
        """Return the first `horizon` steps, so that one stream serves every H up to its own."""
        if not 1 <= horizon <= self.horizon:
            raise ValueError(f"horizon {horizon}: segments of {self.horizon} steps; expected 1..{self.horizon}")
        act = self.act[:, :1] if self.act.shape[1] == 1 else self.act[:, :horizon]
        steps = {name: getattr(self, name)[:, :horizon] for name in ("rew", "discount", "penalty")}
        next_act = self.next_act if horizon == self.horizon else None
        return replace(self, obs=self.obs[:, : horizon + 1], act=act, next_act=next_act, **steps)

    def padded(self, horizon: int) -> Segments:
        """Return segments of `horizon` steps with the same returns; see the class."""
        extra = horizon - self.horizon
        if extra < 0:
            raise ValueError(f"cannot pad segments of {self.horizon} steps to {horizon}")
        if extra == 0:
            return self
        zeros = self.rew.new_zeros(len(self), extra)
        return replace(
            self,
            obs=_repeat_last(self.obs, extra),
            act=self.act if self.act.shape[1] == 1 else _repeat_last(self.act, extra),
            rew=torch.cat([self.rew, zeros], 1),
            discount=torch.cat([self.discount, zeros + 1], 1),
            penalty=torch.cat([self.penalty, zeros], 1),
        )

    def with_first_action(self) -> Segments:
        """Return the segments with the action of the start pair only (M = 1), which is all that targets need."""
        return replace(self, act=self.act[:, :1])

    def transitions(self) -> Segments:
        """Return every step up to the terminal one as a segment of length 1, row by row; needs all actions (M = H)."""
        if self.act.shape[1] != self.horizon:
            raise ValueError(f"segments hold {self.act.shape[1]} actions for {self.horizon} steps: no transitions")
        alive = self.alive
        pairs = torch.stack([self.obs[:, :-1], self.obs[:, 1:]], 2)  # [B, H, 2, O]
        steps = {name: getattr(self, name)[alive].unsqueeze(1) for name in ("act", "rew", "discount", "penalty")}
        return Segments(obs=pairs[alive], source=self.source.unsqueeze(1).expand_as(alive)[alive], **steps)

    @staticmethod
    def cat(batches: list[Segments]) -> Segments:
        """Concatenate along B; either all parts or none have `next_act`."""
        tensors = [batch.tensors() for batch in batches]
        return Segments(**{name: torch.cat([batch[name] for batch in tensors]) for name in tensors[0]})


def _repeat_last(x: Tensor, times: int) -> Tensor:
    return torch.cat([x, x[:, -1:].expand(-1, times, -1)], 1)

"""Windows of T steps over logged episodes, cut on demand from one table of states on the device.

A window starts at every transition. The table contains the states of all episodes; each episode is followed by the
state after its last transition, if known. A window is one gather from the table and never crosses the end of an
episode.

DWM (arXiv 2402.03570), algorithm 17, defines the RTG label as the sum of rewards in the window. The paper's scales only
fit the sum to the end of the episode, which is the default here.

Return-to-go targets of generated segments are absolute or relative to these labels.

If normalisation is expensive, `scaled` normalises all states once and stores a second table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.chunks import chunks
from dwm_ray.data.mapped import new_rows
from dwm_ray.data.statistics import return_to_go
from dwm_ray.data.transitions import usable_rows
from dwm_ray.options import parse_target
from dwm_ray.types import Episodes, Windows

RtgKind = Literal["episode", "window"]

STATES_PER_CALL = 65_536
"""States per call of a normaliser, which needs working memory of several times their size."""


class WindowSet:
    """All windows of a dataset; window `i` starts at row `i` of `episodes`."""

    def __init__(
        self,
        episodes: Episodes,
        sequence_length: int,
        discount: float,
        rtg_scale: float,
        rtg_kind: RtgKind = "episode",
        device: torch.device | str = "cpu",
    ) -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length: is {sequence_length}; expected at least 1")
        if rtg_scale <= 0:
            raise ValueError(f"rtg_scale: is {rtg_scale}; expected a positive number")
        rtg = window_rtg(episodes, sequence_length, discount, rtg_kind) / rtg_scale
        table, index = _state_table(episodes)
        self._parts = (episodes.spaces.obs_size, episodes.spaces.act_size, 1, 1)
        self._table = torch.from_numpy(table).to(device)
        self._index = torch.from_numpy(index).to(device)
        self._rtg = torch.from_numpy(rtg.astype(np.float32)).to(device)
        self._steps = torch.arange(sequence_length, device=device)
        self._scaled: Tensor | None = None

    @property
    def num_windows(self) -> int:
        """Number of windows in the set."""
        return len(self._rtg)

    def complete(self) -> Tensor:
        """Return the indices [M] of the windows that are recorded up to their last state or to a termination."""
        first, last_state, last_step = self._index.long().unbind(1)
        end = first + len(self._steps) - 1
        terminated = self._table[last_step, -1] > 0
        return torch.nonzero((end <= last_state) | ((end > last_step) & terminated)).squeeze(1)

    def starting_at(self, rows: np.ndarray) -> WindowSet:
        """Return the windows that start at the rows of a mask [N]; they share the states of this set."""
        other, mask = copy.copy(self), torch.from_numpy(rows).to(self._rtg.device)
        other._index, other._rtg = self._index[mask], self._rtg[mask]
        return other

    def scaled(self, normalizer: Callable[[Tensor], Tensor]) -> WindowSet:
        """Return the same windows with `Windows.scaled` set to the normalised states; other memory is shared."""
        other = copy.copy(self)
        states = self._table[:, : self._parts[0]]
        other._scaled = torch.cat([normalizer(chunk) for chunk in states.split(STATES_PER_CALL)])
        return other

    def gather(self, starts: Tensor) -> Windows:
        """Return the windows with indices `starts` [B] (int64, on the set's device)."""
        first, last_state, last_step = self._index[starts].long().unsqueeze(-1).unbind(1)
        entry = first + self._steps
        positions = torch.minimum(entry, last_state)
        obs, act, rew, terminated = self._table[positions].split(self._parts, dim=-1)
        step_mask = entry <= last_step
        return Windows(
            obs=obs,
            act=act,
            rew=rew.squeeze(-1),
            obs_mask=entry <= last_state,
            step_mask=step_mask,
            terminated=(terminated.squeeze(-1) > 0) & step_mask,
            rtg=self._rtg[starts],
            scaled=None if self._scaled is None else self._scaled[positions],
        )

    def sample(self, batch: int, generator: torch.Generator) -> Windows:
        """Sample `batch` windows uniformly with replacement; the generator is on the set's device."""
        starts = torch.randint(self.num_windows, (batch,), generator=generator, device=self._table.device)
        return self.gather(starts)


def complete_window_rows(episodes: Episodes, length: int) -> np.ndarray:
    """Return the mask [N] of the rows at which a complete window of `length` states starts (`WindowSet.complete`)."""
    lengths, last = np.diff(episodes.offsets), episodes.offsets[1:] - 1
    last_state = np.repeat(last + episodes.known_next[last], lengths)
    terminated = np.repeat(episodes.terminated[last], lengths)
    return terminated | (np.arange(episodes.num_transitions) + length - 1 <= last_state)


def _state_table(episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Return (table [S, O + A + 2] of state, action, reward, terminated; index [N, 3] int32).

    `index` holds, for each row, the table indices of the row and of its episode's last state and last step.
    A final state has no step: it repeats the last step's action and reward as padding.
    """
    lengths, last = np.diff(episodes.offsets), episodes.offsets[1:] - 1
    extra = episodes.known_next[last]
    shift = np.cumsum(extra) - extra  # final states inserted before each episode
    last_step = last + shift
    per_episode = np.stack([shift, last_step + extra, last_step], axis=1).astype(np.int32)
    index = np.repeat(per_episode, lengths, axis=0)
    index[:, 0] += np.arange(episodes.num_transitions, dtype=np.int32)

    def fill(out: np.ndarray) -> None:
        flags = episodes.terminated.astype(np.float32)
        columns = (episodes.obs, episodes.act, episodes.rew[:, None], flags[:, None])
        for chunk in chunks(len(flags)):
            out[index[chunk, 0]] = np.concatenate([column[chunk] for column in columns], axis=1)
        finals = out[last_step[extra]]
        finals[:, : episodes.spaces.obs_size] = episodes.next_obs[last[extra]]
        out[last_step[extra] + 1] = finals

    size = (len(index) + int(extra.sum()), episodes.spaces.obs_size + episodes.spaces.act_size + 2)
    return new_rows(episodes, "states", size, fill), index


def window_rtg(episodes: Episodes, length: int, discount: float, kind: RtgKind) -> np.ndarray:
    """Return the return-to-go of each row [N] (float64), to the end of its episode or of its window."""
    rtg = return_to_go(episodes, discount).astype(np.float64)
    if kind == "episode":
        return rtg
    ends = np.repeat(episodes.offsets[1:], np.diff(episodes.offsets))
    after = np.arange(len(rtg)) + length
    beyond = np.where(after < ends, rtg[np.minimum(after, len(rtg) - 1)], 0.0)
    return rtg - discount**length * beyond


@lru_cache(maxsize=4)
def start_labels(episodes: Episodes, discount: float, scale: float, kind: RtgKind, length: int) -> np.ndarray:
    """Return the return-to-go labels [N] float32 of the rows of `fused_rows`, in units of `scale`; cached."""
    labels = window_rtg(episodes, length, discount, kind)[usable_rows(episodes)] / scale
    return labels.astype(np.float32)


def target_rtg_of(target: float | str, labels: np.ndarray, device: torch.device) -> Tensor:
    """Return the value of `synthesis.target_rtg` for each label [N], on `device`.

    A factor f gives label + (f - 1) |label|, so that f > 1 is optimistic for labels of either sign.
    """
    kind, value = parse_target(target)
    if kind != "factor":
        number = value if kind == "absolute" else float(np.quantile(labels, value))
        return torch.tensor(number, device=device).expand(len(labels))
    return torch.from_numpy(labels + np.float32(value - 1) * np.abs(labels)).to(device)


def labels_text(labels: np.ndarray, scale: float) -> str:
    """Describe the range of labels."""
    low, middle, high = np.quantile(labels, (0, 0.5, 1))
    return f"return-to-go labels {low:.3g} to {high:.3g}, median {middle:.3g} (in units of {scale:.4g})"


def is_outside_range(target: float | str, labels: np.ndarray) -> bool:
    """Return whether a target is a number outside the range of the labels."""
    return isinstance(target, float) and not labels.min() <= target <= labels.max()

"""Windows of T steps over logged episodes, cut on demand from tensors that lie on the device once.

One window starts at every transition. States are stored in one table, episode after episode, each followed by the
state after its last transition where that is known; a window is one gather from it, so nothing is materialised.
Windows never cross an episode's end (DWM, arXiv 2402.03570, algorithm 17, prints the RTG label as the window's own sum;
its scales only fit the sum to the episode's end, which is the default here).

A dear normaliser, such as an empirical distribution function, need not run in every batch: `scaled` applies it once to
all states and keeps a second table of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.statistics import return_to_go
from dwm_ray.types import Episodes, Windows

RtgKind = Literal["episode", "window"]

SCALED_AT_ONCE = 65_536
"""States that go through a normaliser together: what it needs on the way is several times their size."""


class WindowSet:
    """All windows of a data set. `starts` are row numbers of `episodes`, 0 <= start < num_windows."""

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
            raise ValueError(f"sequence_length must be at least 1, not {sequence_length}")
        if rtg_scale <= 0:
            raise ValueError(f"rtg_scale must be positive, not {rtg_scale}")
        rtg = _window_rtg(episodes, sequence_length, discount, rtg_kind) / rtg_scale
        table, places = _state_table(episodes)
        self.num_windows = episodes.num_transitions
        self._parts = (episodes.spaces.obs_size, episodes.spaces.act_size, 1, 1)
        self._table = torch.from_numpy(table).to(device)
        self._places = torch.from_numpy(places).to(device)
        self._rtg = torch.from_numpy(rtg.astype(np.float32)).to(device)
        self._steps = torch.arange(sequence_length, device=device)
        self._scaled: Tensor | None = None

    def scaled(self, normalizer: Callable[[Tensor], Tensor]) -> WindowSet:
        """The same set, sharing this one's memory, with `Windows.scaled` as `normalizer` gives it of each state."""
        other = copy.copy(self)
        states = self._table[:, : self._parts[0]]
        other._scaled = torch.cat([normalizer(part) for part in states.split(SCALED_AT_ONCE)])
        return other

    def gather(self, starts: Tensor) -> Windows:
        """The windows that start at these rows [B] (int64, on the set's device)."""
        first, last_state, last_step = self._places[starts].unsqueeze(-1).unbind(1)
        entry = first + self._steps
        places = torch.minimum(entry, last_state)
        obs, act, rew, terminated = self._table[places].split(self._parts, dim=-1)
        step_mask = entry <= last_step
        return Windows(
            obs=obs,
            act=act,
            rew=rew.squeeze(-1),
            obs_mask=entry <= last_state,
            step_mask=step_mask,
            terminated=(terminated.squeeze(-1) > 0) & step_mask,
            rtg=self._rtg[starts],
            scaled=None if self._scaled is None else self._scaled[places],
        )

    def sample(self, batch: int, generator: torch.Generator) -> Windows:
        """`batch` windows, uniformly with replacement. The generator lives on the set's device."""
        starts = torch.randint(self.num_windows, (batch,), generator=generator, device=self._table.device)
        return self.gather(starts)


def _state_table(episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """(table [S, O + A + 2] of state, action, reward, terminated; places [N, 3] int64).

    `places` gives for each row its place in the table, and those of its episode's last state and last step. A final
    state has no step of its own: it repeats the last one, which is the padding.
    """
    flags = episodes.terminated[:, None].astype(np.float32)
    table = np.concatenate([episodes.obs, episodes.act, episodes.rew[:, None], flags], axis=1)
    last = episodes.offsets[1:] - 1
    extra = episodes.known_next[last]
    finals = table[last[extra]]
    finals[:, : episodes.spaces.obs_size] = episodes.next_obs[last[extra]]
    table = np.insert(table, last[extra] + 1, finals, axis=0)

    lengths = np.diff(episodes.offsets)
    shift = np.cumsum(extra) - extra  # final states inserted before each episode
    last_step = last + shift
    per_episode = np.stack([shift, last_step + extra, last_step], axis=1)
    places = np.repeat(per_episode, lengths, axis=0)
    places[:, 0] += np.arange(episodes.num_transitions)
    return table, places


def _window_rtg(episodes: Episodes, length: int, discount: float, kind: RtgKind) -> np.ndarray:
    """[N] float64: return-to-go of each row, to the end of its episode or of its window."""
    rtg = return_to_go(episodes, discount).astype(np.float64)
    if kind == "episode":
        return rtg
    ends = np.repeat(episodes.offsets[1:], np.diff(episodes.offsets))
    after = np.arange(len(rtg)) + length
    beyond = np.where(after < ends, rtg[np.minimum(after, len(rtg) - 1)], 0.0)
    return rtg - discount**length * beyond

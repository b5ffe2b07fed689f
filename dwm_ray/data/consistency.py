"""Compare recorded rows with each other, with the time limit and with the task's termination rule, and repair them.

Typical contradictions: episode ends are not marked or are marked one row too late, rows are missing or in random order,
terminals include time-limit ends. Only safe repairs are made: an episode is cut, a next state becomes unknown, a
terminal becomes a time-limit end. Every repair is counted in a `Finding`.
"""

import numpy as np
import torch

from dwm_ray.data.changes import are_starts, deviations, look_shuffled, offset_of_marks
from dwm_ray.data.chunks import chunks, rowwise
from dwm_ray.data.mapped import scratch
from dwm_ray.data.rows import Rows
from dwm_ray.tasks.table import no_termination, unknown
from dwm_ray.types import Termination

TOLERANCE = 1e-2
"""Maximum difference of equal states in standard deviations of each entry, because files may round differently."""
MOST = 0.5
"""Fraction of rows above which a contradiction is an error or applies to all rows."""


def make_consistent(rows: Rows, origin: str, env_id: str, limit: int | None, rule: Termination) -> Rows:
    """Repair rows and count the findings; `limit` is the time limit of episodes, if any.

    Raises ValueError naming `origin` if no safe repair exists.
    """
    if rows.known_next.any():
        _compare_successors(rows, origin)
        if limit is not None:
            long = np.diff(rows.offsets) > limit
            rows.record(long, f"episodes are longer than the time limit of {limit:,} steps: kept")
    else:
        _check_marks(rows, origin, env_id, limit, rule)
        _move_marks_by_change(rows)
        _cut_at_limit(rows, limit)
        if look_shuffled(rows.obs, inside := ~rows.ends[:-1]):
            rows.record(
                inside,
                "rows differ from the following row as much as shuffled rows do: if they are, next states are wrong",
            )
        _fill_next(rows)
    _compare_limit(rows, limit, rule)
    if rule is not unknown:
        _compare_rule(rows, origin, env_id, limit, rule)
    rows.truncated[-1] |= not rows.terminated[-1]
    return rows


def _compare_successors(rows: Rows, origin: str) -> None:
    """Compare next observations with the following rows."""
    leads_to_next = _leads_to_next(rows)
    jumps = rows.known_next & ~leads_to_next
    jumps[-1] = False
    inside = ~rows.ends
    inside[-1] = False
    _check_inverted(rows, origin, jumps & inside, leads_to_next)
    if jumps[inside].sum() > MOST * max(1, (inside & rows.known_next).sum()):
        _isolate(rows, origin, jumps & inside)
        return
    _move_marks(rows, jumps, leads_to_next)
    _forget_placeholders(rows, jumps)
    _forget_starts(rows, leads_to_next)
    rows.cut(jumps & ~rows.ends, "rows do not lead to the following row: episodes cut there, as by a time limit")
    rows.cut(~rows.known_next & ~rows.ends, "rows inside episodes lack their next state: episodes cut there")
    continues = leads_to_next & rows.known_next
    rows.record(rows.terminated & continues, "terminals are followed by their own next state: kept as terminations")
    rows.record(
        rows.truncated & ~rows.terminated & continues,
        "time-limit ends are followed by their own next state: kept as episode ends",
    )


def _leads_to_next(rows: Rows) -> np.ndarray:
    """Return the mask [N] of the rows whose next observation equals the observation of the following row."""
    out, tolerance = np.zeros(len(rows.obs), dtype=bool), TOLERANCE * deviations(rows.obs) + 1e-6
    for chunk in chunks(len(rows.obs) - 1):
        after = slice(chunk.start + 1, chunk.stop + 1)
        out[chunk] = (np.abs(rows.next_obs[chunk] - rows.obs[after]) <= tolerance).all(1)
    return out & rows.known_next


def _check_inverted(rows: Rows, origin: str, jumps: np.ndarray, leads_to_next: np.ndarray) -> None:
    """Raise ValueError if most rows are time-limit ends, or if the marks of episode ends are inverted."""
    continues = rows.ends & leads_to_next
    if continues.mean() > MOST and (jumps.any() or (continues & ~rows.terminated).mean() > MOST):
        raise ValueError(
            f"{origin}: 'terminals' or 'timeouts' end the episode in {continues.sum()} of {len(continues)} rows whose "
            "next state follows; expected 1 in the last row of an episode only"
        )


def _isolate(rows: Rows, origin: str, jumps: np.ndarray) -> None:
    """Make every row a separate episode, because the rows are not in chronological order."""
    if _equal(rows.next_obs, rows.obs).mean() > MOST:
        raise ValueError(f"{origin}: 'next_observations' repeat 'observations' in most rows; expected the states after")
    if _equal(rows.next_obs[:-2], rows.obs[2:]).mean() > MOST:
        raise ValueError(
            f"{origin}: 'next_observations' are those of the following row in most rows; expected those of the same row"
        )
    if _equal(rows.next_obs[1:], rows.obs[:-1]).mean() > MOST:
        raise ValueError(
            f"{origin}: 'next_observations' are the 'observations' of the row before in most rows, so the two are "
            "swapped or the rows go backwards in time; expected rows in chronological order"
        )
    rows.cut(jumps, "rows do not lead to the following row: they are not in chronological order, so each is used alone")
    rows.truncated[:] = ~rows.terminated
    rows.is_ordered = False


def _equal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the mask of equal rows."""
    return rowwise(lambda a, b: (a == b).all(1), first, second)


def _forget_placeholders(rows: Rows, jumps: np.ndarray) -> None:
    """Treat next states as unknown if they are zero or repeat the state at episode ends and nowhere else."""
    breaks = (rows.ends | jumps) & rows.known_next
    for is_placeholder in (rowwise(lambda chunk: ~chunk.any(1), rows.next_obs), _equal(rows.next_obs, rows.obs)):
        if breaks.any() and is_placeholder[breaks].mean() > MOST and not is_placeholder[~breaks].any():
            rows.forget(is_placeholder & breaks, "episode ends have a placeholder as next state: treated as unknown")


def _forget_starts(rows: Rows, leads_to_next: np.ndarray) -> None:
    """Treat next states as unknown if they are the start of the next episode, as vector environments return them."""
    mask = rows.ends & leads_to_next & rows.known_next
    if mask.any() and are_starts(rows.obs, rows.ends, mask):
        rows.forget(mask, "episode ends have the start of the next one as next state: treated as unknown")


def _move_marks(rows: Rows, jumps: np.ndarray, leads_to_next: np.ndarray) -> None:
    """Move marks that are one row late or early: the recording continues there and stops in the adjacent row.

    If there are such marks, the mark next to the start or the end of the file is moved as well, although it is no
    break.
    """
    for step, word, edge in ((-1, "late", 0), (1, "early", len(jumps) - 2)):
        continues = rows.ends & leads_to_next
        wrong = continues & np.roll(jumps & ~rows.ends, -step)
        wrong[0 if step < 0 else -1] = False
        if wrong.any():
            wrong[edge] |= continues[edge] and not (step > 0 and rows.ends[-1])
            rows.record(wrong, f"episode ends are marked one row too {word}: moved")
            _shift(rows, wrong, step)


def _shift(rows: Rows, marks: np.ndarray, step: int) -> None:
    """Move marks by one row; flags are circular, so a mark before the first row belongs to the last row."""
    rows_of_marks = np.flatnonzero(marks)
    for flags in (rows.terminated, rows.truncated):
        moved = flags[rows_of_marks]
        flags[rows_of_marks] = False
        flags[rows_of_marks + step] |= moved


def _check_marks(rows: Rows, origin: str, env_id: str, limit: int | None, rule: Termination) -> None:
    """Raise ValueError if episode ends cannot be found: nothing marks them, and falls would not be marked either."""
    num_rows = len(rows.obs)
    if not rows.ends.any() and limit is not None and num_rows > limit and rule is not no_termination:
        raise ValueError(
            f"{origin}: 'terminals' and 'timeouts' mark no episode end in {num_rows} rows; expected one at least every "
            f"{limit} steps, the time limit of {env_id}"
        )


def _move_marks_by_change(rows: Rows) -> None:
    """Move the marks of one kind by one row if the states show that episodes start in the adjacent row."""
    for name, flags in (("terminals", rows.terminated), ("timeouts", rows.truncated)):
        if offset := offset_of_marks(rows.obs, flags):
            word = "late" if offset < 0 else "early"
            rows.record(flags, f"{name} are marked one row too {word}, according to the states: moved")
            flags[:] = np.roll(flags, offset)


def _cut_at_limit(rows: Rows, limit: int | None) -> None:
    """Cut episodes that exceed the time limit at the limit, the only place for their unmarked ends."""
    if limit is None:
        return
    lengths = np.diff(rows.offsets)
    step = np.arange(len(rows.obs)) - np.repeat(rows.offsets[:-1], lengths)
    due = ((step + 1) % limit == 0) & np.repeat(lengths > limit, lengths) & ~rows.ends
    due[-1] = False
    rows.cut(due, f"unmarked episode ends: cut at the time limit of {limit:,} steps")


def _fill_next(rows: Rows) -> None:
    """Take next observations from the following rows; at episode ends they are unknown and repeat the state."""
    rows.known_next = ~np.append(rows.ends[:-1], True)
    out = scratch(rows.obs.shape, rows.obs.dtype) if isinstance(rows.obs, np.memmap) else np.empty_like(rows.obs)
    for chunk in chunks(len(out) - 1):
        out[chunk] = np.where(rows.known_next[chunk, None], rows.obs[chunk.start + 1 : chunk.stop + 1], rows.obs[chunk])
    out[-1] = rows.obs[-1]
    rows.next_obs = out


def _compare_limit(rows: Rows, limit: int | None, rule: Termination) -> None:
    """Turn terminals at the time limit into time-limit ends, unless the task's rule applies to them."""
    if limit is None or limit < 2:
        return
    at_limit = rows.last_rows(np.diff(rows.offsets) == limit) & rows.terminated & ~rows.truncated
    wrong = at_limit & ~rows.known_next if rule is not unknown else at_limit
    rows.record(wrong, f"terminals are at the time limit of {limit:,} steps: treated as time-limit ends")
    rows.terminated[wrong], rows.truncated[wrong] = False, True


def _compare_rule(rows: Rows, origin: str, env_id: str, limit: int | None, rule: Termination) -> None:
    """Compare terminals with the task's rule on next states; where these are unknown, trust the flags."""
    terminal = _terminal_by_rule(rows, rule)
    missed = terminal & ~rows.terminated
    if missed.mean() > MOST:
        raise ValueError(
            f"{origin}: the rule of {env_id} ends the episode in {missed.sum()} of {len(missed)} rows that do not; "
            "expected observations in the units of the environment"
        )
    false = rows.known_next & rows.terminated & ~terminal
    _check_terminals(rows, origin, env_id, limit, rule, false)
    rows.record(false, f"terminals contradict the rule of {env_id}: treated as time-limit ends")
    rows.terminated[false], rows.truncated[false] = False, True
    rows.record(missed, f"rows end the episode by the rule of {env_id} without a terminal: marked as terminations")
    rows.terminated |= missed
    rows.truncated &= ~missed


def _terminal_by_rule(rows: Rows, rule: Termination) -> np.ndarray:
    """Return the mask [N] of the rows whose next state is known and terminal according to the rule."""
    out = np.zeros(len(rows.obs), dtype=bool)
    for chunk in chunks(len(out)):
        out[chunk] = rule(torch.from_numpy(rows.next_obs[chunk])).numpy()
    return out & rows.known_next


def _check_terminals(
    rows: Rows, origin: str, env_id: str, limit: int | None, rule: Termination, false: np.ndarray
) -> None:
    """Raise ValueError if most terminals contradict the rule and are not time-limit ends."""
    lengths = np.diff(rows.offsets)
    at_limit = rows.last_rows((lengths == limit) | (lengths == lengths.max()))
    if rule is not no_termination and (false & ~at_limit).sum() > MOST * rows.terminated.sum():
        raise ValueError(
            f"{origin}: {false.sum()} of {rows.terminated.sum()} terminals contradict the rule of {env_id}; "
            "expected observations in the units of the environment, and terminals without time-limit ends"
        )

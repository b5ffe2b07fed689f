"""A line now and then about a world model in training, read from its log: training itself is not touched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event

from dwm_ray.runs.background import in_background
from dwm_ray.runs.row_log import read_rows

LINE_S = 15.0


def ticking(folder: Path, num_updates: int, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Put it around the training that logs in `folder`."""

    def tick(stop: Event) -> None:
        while not stop.wait(LINE_S):
            if rows := read_rows(folder / "metrics.jsonl"):
                last = rows[-1]
                say(f"  {last['update']} of {num_updates} updates, held-out loss {last['holdout_loss']:.3g}")

    return in_background("ticker", tick)

"""The learner's loop: update, log, evaluate, checkpoint - until the last update is made.

The loop is the same in one process and under Ray Train; what differs is where batches come from (the trainer's source)
and who is told (`on_checkpoint`). A population's loop takes each member through a `TrialLoop` of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dwm_ray.config import RunConfig
from dwm_ray.runs.clock import Clock
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.training.writers import MetricsWriter

Evaluate = Callable[[int], dict[str, Any]]
"""Number of episodes -> score_mean, score_std, returns, ..."""


def milestones(config: RunConfig) -> list[int]:
    """Updates at which the loop pauses to log, evaluate or checkpoint; the last is the end."""
    training = config.training
    periods = (training.log_every, training.checkpoint_every, config.evaluation.every)
    marks = {mark for period in periods for mark in range(period, training.num_updates, period)}
    return sorted(marks | {training.num_updates})


def learn(
    trainer: AgentTrainer,
    config: RunConfig,
    writer: MetricsWriter,
    evaluate: Evaluate,
    on_checkpoint: Callable[[dict[str, Any]], None],
    gauges: Callable[[], dict[str, float]] = dict,
    seconds_before: float = 0.0,
) -> dict[str, Any]:
    """Learn up to `training.num_updates`; returns the row of the final evaluation (last checkpoint).

    `on_checkpoint` gets {update, seconds, ...latest evaluation} whenever a checkpoint or an evaluation is due;
    `gauges` adds the source's numbers (rows in the ring, time waited) to every row of metrics.
    """
    course = TrialLoop(config, writer, evaluate, on_checkpoint, Clock(seconds_before))
    for mark in (m for m in milestones(config) if m > trainer.update):
        started, done = time.perf_counter(), mark - trainer.update
        row = trainer.run(done)
        rate = done / (time.perf_counter() - started)
        course.reached(mark, {**row, **gauges(), "updates_per_s": rate})
    return course.final()


class TrialLoop:
    """One trial on its way: what is written, scored and told at each milestone."""

    def __init__(
        self,
        config: RunConfig,
        writer: MetricsWriter,
        evaluate: Evaluate,
        on_checkpoint: Callable[[dict[str, Any]], None],
        clock: Clock,
    ) -> None:
        self._config, self._writer, self._evaluate, self._clock = config, writer, evaluate, clock
        self._on_checkpoint = on_checkpoint
        self._latest: dict[str, Any] = {}

    def reached(self, mark: int, row: dict[str, float]) -> None:
        """A milestone, with the row of metrics since the one before."""
        self._writer.metrics(mark, {**row, **self._clock.costs()})
        last, every = mark == self._config.training.num_updates, self._config.evaluation.every
        if last or mark % every == 0:
            self._latest = self._scored(last)
            self._writer.evaluation(mark, self._latest)
        if last or mark % every == 0 or mark % self._config.training.checkpoint_every == 0:
            self._on_checkpoint({"update": mark, **self._latest, "seconds": self._clock.seconds})

    def final(self) -> dict[str, Any]:
        """The row of the final evaluation. A run that was cut off after its last checkpoint has that row in its log
        already; the caller still needs it."""
        return self._latest or self._scored(True)

    def _scored(self, last: bool) -> dict[str, Any]:
        options = self._config.evaluation
        scores = self._evaluate(options.num_episodes if last else options.curve_episodes)
        return {**scores, "final": last, "cpu_s": self._clock.cpu_s, "seconds": self._clock.seconds}

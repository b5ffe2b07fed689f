"""Log, evaluate and checkpoint one trial of a learner at its milestones."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.evaluation.evaluators import Evaluator
from dwm_ray.evaluation.rollout import Diverged
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFailed, RunFolder, set_status
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.uploads import uploading
from dwm_ray.training.checkpoints import load_state, save_state
from dwm_ray.training.stores import save_agent
from dwm_ray.training.writers import MetricsWriter

Gauges = Callable[[], dict[str, float]]
OnRow = Callable[[str, dict[str, Any]], None]
"""Callback with the trial's id for every row of metrics and evaluations."""


def milestones(config: RunConfig) -> list[int]:
    """Return the updates at which training pauses to log, evaluate or checkpoint; the last one is the end."""
    training = config.training
    periods = (training.log_every, training.checkpoint_every, config.evaluation.every)
    updates = {update for period in periods for update in range(period, training.num_updates, period)}
    return sorted(updates | {training.num_updates})


class Member:
    """Trial in a population.

    A member whose metrics or actions become infinite or NaN is recorded as failed; the learner continues with the
    others.
    """

    def __init__(
        self,
        config: RunConfig,
        agent: Agent,
        task_data: TaskData,
        run: RunFolder,
        evaluator: Evaluator,
        gauges: Gauges = dict,
    ) -> None:
        self.config, self.agent = config, agent
        self.id = config.trial_id
        self.folder = run.trial(self.id)
        self.failed = False
        self._task_data, self._run, self._evaluator, self._gauges = task_data, run, evaluator, gauges
        self._latest: dict[str, Any] = {}

    def saved_state(self) -> tuple[dict[str, Tensor], float] | None:
        """Return the state and the seconds of the trial's checkpoint, if there is one."""
        return load_state(self._run.fetched(self.folder))

    @contextmanager
    def running(self, update: int, clock: Clock, on_row: OnRow) -> Iterator[None]:
        """Open the trial's log at `update`; upload the folder while the trial runs and at the end."""
        set_status(self.folder, "running", updates=update)
        self._clock = clock
        with uploading(self._run, self.folder) as self._upload:

            def on_member_row(row: dict[str, Any]) -> None:
                on_row(self.id, row)
                self._upload.if_due()

            with MetricsWriter(self.folder, update, on_member_row, self.config) as self._writer:
                self._latest = next(reversed(read_rows(self.folder / "evaluations.jsonl")), {})
                with self._recording_failure():
                    yield

    @contextmanager
    def _recording_failure(self) -> Iterator[None]:
        """Set the status `failed` if the environment fails, so that a restarted worker does not try again."""
        try:
            yield
        except RunFailed as error:
            set_status(self.folder, "failed", error=str(error), updates=self._latest.get("update", 0))
            raise

    def on_milestone(self, update: int, metrics: dict[str, float]) -> None:
        """Log the metrics since the last milestone."""
        if self.failed:
            return
        if broken := [name for name, value in metrics.items() if not math.isfinite(value)]:
            self._fail(update, broken)
            return
        self._writer.metrics(update, {**metrics, **self._gauges(), **self._clock.costs()})

    def checkpoint_due(self, update: int) -> bool:
        """Return whether a milestone requires a checkpoint; one is saved before every evaluation."""
        return not self.failed and (self._evaluation_due(update) or update % self.config.training.checkpoint_every == 0)

    def save(self, state: dict[str, Tensor]) -> None:
        """Save the learner's state of this member and upload the folder."""
        save_state(self.folder, state, self._clock.seconds)
        self._upload.now()

    def evaluate_if_due(self, update: int) -> None:
        """Evaluate the agent if a milestone requires it and no earlier process has recorded the result."""
        if self.failed or not self._evaluation_due(update) or self._latest.get("update") == update:
            return
        try:
            scores = self._evaluate(update == self.config.training.num_updates)
        except Diverged:  # in an update whose metrics are not logged yet
            self._fail(update, ["actions"])
            return
        self._latest = {"update": update, **scores}
        self._writer.evaluation(update, scores)

    def _evaluation_due(self, update: int) -> bool:
        return update == self.config.training.num_updates or (update > 0 and update % self.config.evaluation.every == 0)

    def finish(self, update: int) -> None:
        """Write the policy and the status `done`, unless the member has failed."""
        if not self.failed:
            save_agent(self.folder / "checkpoint", self.agent, self.config, self._task_data, update)
            set_status(self.folder, "done", updates=update, seconds=self._latest["seconds"])

    def _fail(self, update: int, broken: list[str]) -> None:
        self.failed = True
        error = (
            f"learning diverged before update {update}: {', '.join(broken)} not finite; check q_mean in the "
            "preceding rows, then try agent.target_clip data, a longer synthesis.horizon or a lower learning rate"
        )
        set_status(self.folder, "failed", error=error, updates=update)

    def _evaluate(self, last: bool) -> dict[str, Any]:
        row = self._evaluator(self.agent, last)
        return {**row, "final": last, "cpu_s": self._clock.cpu_s, "seconds": self._clock.seconds}

"""Interface of the services that an executor provides to a learner."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from dwm_ray.config import RunConfig
from dwm_ray.replay.on_policy import RolloutContext, RolloutGenerator
from dwm_ray.replay.ring import Ring
from dwm_ray.world_models.base import WorldModel


@dataclass(frozen=True)
class RingWithGauges:
    """Ring that is filled from a stream, and its gauges."""

    ring: Ring
    gauges: Callable[[], dict[str, float]] = dict


class Services(Protocol):
    """World models, streams and rollouts of a run, and the receiver of its metrics."""

    def world_model(self, config: RunConfig) -> WorldModel:
        """Return the run's trained world model with the run's sampling options."""

    def streams(self, configs: Sequence[RunConfig]) -> AbstractContextManager[Mapping[str, RingWithGauges]]:
        """Return the rows of the runs' streams by `replay.sources.ring_key`, filled while the context is open.

        Every ring holds at least `replay.min_synthetic` rows, or all rows of its stream.
        """

    def rollouts(self, config: RunConfig, context: RolloutContext) -> RolloutGenerator:
        """Return the generator of rollouts that follow the run's policy."""

    def on_row(self, trial_id: str, row: dict[str, Any]) -> None:
        """Receive a row of metrics or of an evaluation."""

"""Train a world model with Adam and an exponential moving average (EMA) of the weights; resuming is exact.

Several workers train one model with `average_gradients` and a fraction of the batch each.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dwm_ray.agents.parts.optimizer import adam_tensors, load_adam_tensors
from dwm_ray.data.windows import WindowSet
from dwm_ray.runs.tensor_files import prefixed, unprefixed
from dwm_ray.types import Metrics, Windows
from dwm_ray.world_models.base import WorldModel

HOLDOUT_WINDOWS = 1024
HOLDOUT_SEED = 0

AverageGradients = Callable[[list[nn.Parameter]], None]
"""Replace each parameter's gradient with its mean over all workers."""


class WorldModelTrainer:
    """Trainer that updates `model` in place; `averaged` holds the EMA weights, which are used for sampling."""

    def __init__(
        self,
        model: WorldModel,
        train: WindowSet,
        holdout: WindowSet,
        generator: torch.Generator,
        average_gradients: AverageGradients | None = None,
        rank_batch: int | None = None,
    ) -> None:
        """Model, window sets and generator must be on one device; `rank_batch` is the batch size of this worker."""
        self.model, self.update, self.stopped = model, 0, False
        self._train, self._holdout, self._generator = self._scaled(train), holdout, generator
        self._average_gradients = average_gradients
        self._batch_size = rank_batch or model.windows_per_update
        self._params = [param for param in model.parameters() if param.requires_grad]
        self._adam = torch.optim.Adam(self._params, lr=model.config.learning_rate, fused=True)
        self._averaged = copy.deepcopy(model).requires_grad_(False).eval()

    @property
    def averaged(self) -> WorldModel:
        """Average of the weights so far (the last weights if `ema_decay` is 0). One module, updated in place."""
        return self._averaged

    def run(self, num_updates: int) -> dict[str, float]:
        """Perform `num_updates` updates; return the mean of each metric."""
        totals: dict[str, Tensor | float] = defaultdict(float)
        for _ in range(num_updates):
            for name, value in self._step().items():
                totals[name] = totals[name] + value
        if self.model.config.ema_decay == 0:
            self._update_average(0.0)
        return {name: float(total) / num_updates for name, total in totals.items()}

    def _step(self) -> Metrics:
        self._adam.param_groups[0]["lr"] = self._learning_rate()
        windows = self._train.sample(self._batch_size, self._generator)
        loss, metrics = self.model.loss(windows, self._generator)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        if self._average_gradients is not None:
            self._average_gradients(self._params)
        self._adam.step()
        self.update += 1
        config = self.model.config
        if config.ema_decay > 0 and self.update % config.ema_every == 0:
            # Start with a fast decay; otherwise the random initial weights dominate for thousands of updates.
            age = self.update // config.ema_every
            self._update_average(min(config.ema_decay, (1 + age) / (10 + age)))
        return metrics

    def _scaled(self, windows: WindowSet) -> WindowSet:
        normalizer = self.model.state_normalizer
        return windows if normalizer is None else windows.scaled(normalizer)

    def _learning_rate(self) -> float:
        config = self.model.config
        progress = min(self.update / config.num_updates, 1.0)
        factor = config.final_learning_rate + (1 - config.final_learning_rate) * (1 + math.cos(math.pi * progress)) / 2
        return config.learning_rate * factor

    def _update_average(self, decay: float) -> None:
        average = [param.detach() for param in self._averaged.parameters()]
        current = [param.detach() for param in self.model.parameters()]
        torch._foreach_lerp_(average, current, 1 - decay)

    @torch.no_grad()
    def holdout_loss(self) -> float:
        """Return the loss of the averaged weights on fixed held-out windows with fixed noise."""
        generator = self._holdout_generator()
        windows = self._holdout.sample(HOLDOUT_WINDOWS, generator)
        return float(self.averaged.loss(windows, generator)[0])

    def observe(self) -> bool:
        """Evaluate the averaged weights on held-out windows; return whether to end training, on all workers."""
        self.stopped = self.averaged.observe(self._holdout_windows())
        return self.stopped

    def finish(self) -> None:
        """Choose and calibrate parts of the averaged model on held-out windows."""
        self.averaged.finish(self._holdout_windows())

    def _holdout_windows(self) -> Windows:
        return self._holdout.sample(HOLDOUT_WINDOWS, self._holdout_generator())

    def _holdout_generator(self) -> torch.Generator:
        return torch.Generator(self._generator.device).manual_seed(HOLDOUT_SEED)

    def state_dict(self) -> dict[str, Tensor]:
        """Return weights, average, Adam's moments, update counter, generator, and whether training ended early."""
        return {
            **prefixed("model", self.model.state_dict()),
            **prefixed("averaged", self._averaged.state_dict()),
            **adam_tensors("adam", self._adam),
            "generator": self._generator.get_state(),
            "update": torch.tensor(self.update),
            "stopped": torch.tensor(self.stopped),
        }

    def reseed(self, rank: int) -> None:
        """Reseed a worker of another rank: a checkpoint holds the generator of rank 0 only."""
        self._generator.manual_seed(hash((self.model.config.seed, rank, self.update)) % 2**63)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(unprefixed("model", state))
        self._averaged.load_state_dict(unprefixed("averaged", state))
        load_adam_tensors("adam", self._adam, state)
        self._train = self._scaled(self._train)  # with the normaliser that was loaded
        self._generator.set_state(state["generator"].cpu())
        self.update, self.stopped = int(state["update"]), bool(state["stopped"])

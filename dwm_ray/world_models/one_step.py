"""One-step model: an ensemble of Gaussian networks, rolled out with the policy, H calls for H steps.

DWM (arXiv 2402.03570) uses such a network as a baseline: 4 x 256 units, softplus variance, maximum likelihood. With 7
members, 5 elites by held-out error and state changes as targets, it generates the initial rollout of DyDiff (arXiv
2405.19189). The penalty is PQL's disagreement: the largest squared distance between two elites' mean predictions
(reward and next state together), here in standard deviations of the data's rewards and changes, so that no unit
dominates. Each member is used with the weights of its lowest held-out error, and training ends when no member improves
further.

Differences: mean and variance share a trunk, activations are SiLU, inputs and targets are standardised, and members
share batches.
"""

import copy
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from dwm_ray.data.normalizers import ZScore
from dwm_ray.devices import Precision, autocast
from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import FirstStepConfig, SegmentRequest, WorldModel, generated, seeded
from dwm_ray.world_models.parts.ensemble import BestMembers, EnsembleMLP, largest_distance
from dwm_ray.world_models.parts.heads import ContinuationConfig, TerminationHead
from dwm_ray.world_models.parts.losses import mean_and_variance


class EnsembleConfig(ContinuationConfig):
    """Options of a one-step ensemble; the defaults are DWM's network with DyDiff's ensemble."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset({"sample", "rollout_limit", "sampling_precision"})
    horizon_limit: ClassVar[tuple[str, int]] = ("rollout_limit", 0)
    sequence_length: ClassVar[int] = 2

    num_updates: PositiveInt = 1_000_000
    ensemble_size: PositiveInt = 7
    """Networks that are trained."""
    num_elites: PositiveInt = 5
    """Networks that are used: those with the lowest held-out error."""
    width: PositiveInt = 256
    """Units per hidden layer."""
    num_layers: PositiveInt = 4
    """Hidden layers."""
    patience: PositiveInt = 10
    """Training ends after this many log lines (of 40) in which no network's held-out error improved."""
    rollout_limit: PositiveInt = 100
    """Longest segment. The model itself has no limit, but its error grows with every step."""
    sample: bool = False
    """Sample next states and rewards from the predicted Gaussian; otherwise take its mean."""
    sampling_precision: Precision = "fp32"
    """Precision of matrix products in rollouts."""

    @property
    def has_penalty(self) -> bool:
        return self.num_elites > 1

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        return {
            "num_updates": 11_000,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "final_learning_rate": 0.05,
            "ensemble_size": 3,
            "num_elites": 2,
            "width": 200,
            "num_layers": 3,
            "sampling_precision": "auto",
        }

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.num_elites > self.ensemble_size:
            raise ValueError(f"num_elites: got {self.num_elites}; expected at most ensemble_size {self.ensemble_size}")
        return self


class OneStepConfig(EnsembleConfig, FirstStepConfig):
    """Options of the ensemble and of its rollouts."""

    SAMPLING: ClassVar[frozenset[str]] = EnsembleConfig.SAMPLING | FirstStepConfig.SAMPLING

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        return {**EnsembleConfig.laptop(), "first_step": "recorded"}


class OneStep(WorldModel):
    """Ensemble of one-step models; see the module."""

    Config: ClassVar[type[EnsembleConfig]] = OneStepConfig
    follows_policy = True
    relative_flops = 6.5
    uses_rtg = False
    config: EnsembleConfig
    elite: Tensor  # [num_elites] int64: the members that are used

    def __init__(self, config: EnsembleConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.obs_normalizer = ZScore(spaces.obs_size)
        self.act_normalizer = ZScore(spaces.act_size)
        self.target_normalizer = ZScore(spaces.obs_size + 1, eps=1e-6)  # a change may be far smaller than 1e-3
        self.register_buffer("elite", torch.arange(config.num_elites))
        size_out = 2 * (spaces.obs_size + 1)
        hidden = [config.width] * config.num_layers
        with seeded(config.seed):
            self.net = EnsembleMLP(config.ensemble_size, [spaces.obs_size + spaces.act_size, *hidden, size_out])
            self.termination = TerminationHead(spaces, config)
        self.best = BestMembers(self.net)

    @property
    def max_horizon(self) -> int:
        return self.config.rollout_limit

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        targets = np.concatenate([episodes.next_obs - episodes.obs, episodes.rew[:, None]], 1)
        self.target_normalizer.fit(targets[episodes.known_next])
        self.termination.fit_normalizers(episodes)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the negative log-likelihood (without its constant) plus the loss of the termination head."""
        mean, variance = self._predict(windows.obs[:, 0], windows.act[:, 0])
        squared = (self._target(windows) - mean).square()
        mask = windows.transition_mask[:, 0]
        termination = self.termination.loss(windows)
        loss = _member_means(0.5 * (squared / variance + variance.log()), mask).mean() + termination
        mse = _member_means(squared.detach(), mask).mean()
        return loss, {"loss": loss.detach(), "mse": mse, **self.termination.metrics(termination)}

    @torch.no_grad()
    def observe(self, holdout: Windows) -> bool:
        """Retain each member's best weights, by the squared error of its means."""
        mean, _ = self._predict(holdout.obs[:, 0], holdout.act[:, 0])
        error = _member_means((self._target(holdout) - mean).square(), holdout.transition_mask[:, 0])
        self.best.observe(self.net, error)
        return int(self.best.stale) >= self.config.patience

    def finish(self, holdout: Windows) -> None:
        """Restore each member's best weights and choose the elites by their error."""
        self.observe(holdout)
        self.best.restore(self.net)
        self.elite.copy_(self.best.error.argsort()[: self.config.num_elites])

    def single_elite(self, index: int) -> Self:
        """Return a copy that shares the weights and uses one of the elites."""
        other = copy.copy(self)
        other._buffers = {**self._buffers, "elite": self.elite[index : index + 1]}
        return other

    @torch.no_grad()
    def disagreement(self, obs: Tensor, act: Tensor) -> Tensor:
        """Return the penalty [B] of raw pairs [B, O] and [B, A]."""
        with autocast(self.config.sampling_precision, obs.device):
            mean, _ = self._predict(obs, act)
        return largest_distance(mean[self.elite].float())

    def generate(self, request: SegmentRequest) -> Segments:
        states, actions, rews, penalties = [request.obs], [request.act], list[Tensor](), list[Tensor]()
        if request.first is not None:
            states.append(request.first.obs[:, 1])
            rews.append(request.first.rew[:, 0])
            penalties.append(torch.zeros_like(rews[0]))
        num_recorded = len(rews)
        for step in range(num_recorded, request.horizon):
            if step > 0:
                assert request.policy is not None
                actions.append(request.policy(states[-1], step))
            change, rew, penalty = self._step(states[-1], actions[-1], request.generator)
            states.append(states[-1] + change)
            rews.append(rew)
            penalties.append(penalty)
        obs, act, rew, penalty = (torch.stack(steps, 1) for steps in (states, actions, rews, penalties))
        return generated(obs, act, rew, self.termination.discount(obs, num_recorded), penalty)

    def _step(self, obs: Tensor, act: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return change of state [B, O], reward [B] and penalty [B], by a random elite per row."""
        with autocast(self.config.sampling_precision, obs.device):
            mean, variance = (prediction[self.elite].float() for prediction in self._predict(obs, act))
        rows = torch.arange(len(obs), device=obs.device)
        member = torch.randint(len(self.elite), (len(obs),), generator=generator, device=obs.device)
        target = mean[member, rows]
        if self.config.sample:
            noise = torch.randn(target.shape, generator=generator, device=obs.device)
            target = target + variance[member, rows].sqrt() * noise
        raw = self.target_normalizer.inverse(target)
        return raw[:, :-1], raw[:, -1], largest_distance(mean)

    def _predict(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        """Predict mean and variance [E, B, O + 1] of the standardised change and reward."""
        inputs = torch.cat([self.obs_normalizer(obs), self.act_normalizer(act)], 1)
        return mean_and_variance(self.net(inputs))

    def _target(self, windows: Windows) -> Tensor:
        change = windows.obs[:, 1] - windows.obs[:, 0]
        return self.target_normalizer(torch.cat([change, windows.rew[:, :1]], 1))


def _member_means(values: Tensor, mask: Tensor) -> Tensor:
    """Return each member's mean [E] of values [E, B, D] over the rows in `mask` [B]; 0 without such rows."""
    rows = mask[:, None].to(values.dtype)
    return (values * rows).sum((1, 2)) / (rows.sum() * values.shape[2]).clamp_min(1)

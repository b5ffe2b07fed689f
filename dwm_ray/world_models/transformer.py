"""Transformer world model: the autoregressive baseline of DWM (arXiv 2402.03570, T-TD3BC and T-IQL).

p(r_t, s_{t+1} | g, s_t, a_t) p(r_{t+1}, s_{t+2} | ..., s_{t+1}, r_t) ...: 4 causal layers of 4 heads. The tokens are
g, s_t, a_t, (s_{t+1}, r_t), (s_{t+2}, r_{t+1}), ...; from a_t on, each predicts the next reward and state. Later
actions have no token, which is equivalent to masking them: as in DWM, segments follow the behaviour in the data under a
return-to-go. Sampling caches keys and values, so a step costs one token.

The paper specifies layers, heads and the mask. The rest is ours. Diagonal Gaussians over the standardised change of
state and reward are fitted by maximum likelihood, as in the one-step model, because a squared error defines no
distribution. A temperature scales the spread, as in DWM. Pre-norm blocks have no dropout, which would use torch's
global generator.
"""

from typing import Annotated, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from dwm_ray.data.normalizers import ZScore
from dwm_ray.devices import autocast
from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import FirstStepConfig, SegmentRequest, WorldModel, generated, seeded
from dwm_ray.world_models.parts.heads import ContinuationConfig, TerminationHead
from dwm_ray.world_models.parts.losses import masked_mean, mean_and_variance
from dwm_ray.world_models.parts.options import PrecisionConfig

NUM_PROMPT = 3  # tokens of return-to-go, state and action

Past = tuple[Tensor, Tensor]
"""Cached keys and values [B, heads, tokens, width / heads] of a layer."""


class TransformerConfig(PrecisionConfig, FirstStepConfig, ContinuationConfig):
    """Options of the transformer; layers and heads are the paper's."""

    SAMPLING: ClassVar[frozenset[str]] = FirstStepConfig.SAMPLING | {"temperature", "sampling_precision"}

    num_updates: PositiveInt = 500_000
    sequence_length: Annotated[int, Field(ge=2)] = 8
    """T: states per window; segments have up to T - 1 steps."""
    width: PositiveInt = 256
    """Size of a token embedding."""
    num_layers: PositiveInt = 4
    """Blocks of attention and MLP."""
    num_heads: PositiveInt = 4
    """Attention heads; width must be divisible by their number."""
    temperature: Annotated[float, Field(ge=0)] = 0.5
    """Scale of the predicted standard deviation in sampling; 0 takes the mean."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return options that train in 190 s on one core.

        With half the updates, the held-out error on halfcheetah is 8 % higher.
        """
        return {
            "width": 128,
            "first_step": "recorded",
            "num_updates": 3000,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "final_learning_rate": 0.05,
            "training_precision": "auto",
            "sampling_precision": "auto",
        }

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width: {self.width} is not divisible; expected a multiple of num_heads {self.num_heads}")
        return self


class Block(nn.Module):
    """Causal attention, then an MLP of four times the width, each a pre-norm residual branch."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Process tokens [B, L, W] that follow `past`; with a past, L is 1, since a single token needs no mask."""
        heads = self.query_key_value(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        x = x + self.merge(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x), (key, value)


class CausalNetwork(nn.Module):
    """Tokens [B, L, W] -> [B, L, W] in which entry i depends on tokens 0..i."""

    def __init__(self, width: int, num_layers: int, num_heads: int, num_tokens: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(num_tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, past: list[Past] | None = None) -> tuple[Tensor, list[Past]]:
        """Return the outputs and the `past` with which the next call continues by one token."""
        start = 0 if past is None else past[0][0].shape[2]
        x = tokens + self.position[start : start + tokens.shape[1]]
        cache = []
        for index, block in enumerate(self.blocks):
            x, cached = block(x, None if past is None else past[index])
            cache.append(cached)
        return self.norm(x), cache


class Transformer(WorldModel):
    """Causal transformer over states and rewards; see the module."""

    Config = TransformerConfig
    follows_policy = False
    supports_cuda_graphs = True
    config: TransformerConfig

    def __init__(self, config: TransformerConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.obs_normalizer = ZScore(spaces.obs_size)
        self.act_normalizer = ZScore(spaces.act_size)
        self.rew_normalizer = ZScore(1, eps=1e-6)
        self.change_normalizer = ZScore(spaces.obs_size, eps=1e-6)  # a change may be far smaller than 1e-3
        num_tokens = NUM_PROMPT + config.sequence_length - 2
        with seeded(config.seed):
            self.rtg_token = nn.Linear(1, config.width)
            self.obs_token = nn.Linear(spaces.obs_size, config.width)
            self.act_token = nn.Linear(spaces.act_size, config.width)
            self.step_token = nn.Linear(spaces.obs_size + 1, config.width)
            self.network = CausalNetwork(config.width, config.num_layers, config.num_heads, num_tokens)
            self.head = nn.Linear(config.width, 2 * (spaces.obs_size + 1))
            self.termination = TerminationHead(spaces, config)

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        self.rew_normalizer.fit(episodes.rew[:, None])
        self.change_normalizer.fit((episodes.next_obs - episodes.obs)[episodes.known_next])
        self.termination.fit_normalizers(episodes)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the negative log-likelihood (without its constant) plus the loss of the termination head."""
        with autocast(self.config.training_precision, windows.obs.device):
            mean, variance = self._teacher_forced(windows)
        change = self.change_normalizer(windows.obs[:, 1:] - windows.obs[:, :-1])
        squared = (torch.cat([change, self.rew_normalizer(windows.rew[:, :-1, None])], -1) - mean).square()
        mask = _recorded(windows)
        termination = self.termination.loss(windows)
        loss = masked_mean(0.5 * (squared / variance + variance.log()), mask) + termination
        mse = masked_mean(squared.detach(), mask)
        return loss, {"loss": loss.detach(), "mse": mse, **self.termination.metrics(termination)}

    def _teacher_forced(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Predict mean and variance [B, T - 1, O + 1] of each step from the recorded steps before it."""
        prompt = self._prompt(windows.obs[:, 0], windows.act[:, 0], windows.rtg)
        later = self._step_tokens(windows.obs[:, 1:-1], windows.rew[:, :-2])
        out, _ = self.network(torch.cat([prompt, later], 1))
        return mean_and_variance(self.head(out[:, NUM_PROMPT - 1 :]).float())

    def _prompt(self, obs: Tensor, act: Tensor, rtg: Tensor) -> Tensor:
        """Return the tokens [B, 3, W] of return-to-go, state and action."""
        values = (rtg[:, None], self.obs_normalizer(obs), self.act_normalizer(act))
        embed = (self.rtg_token, self.obs_token, self.act_token)
        return torch.stack([token(value) for token, value in zip(embed, values, strict=True)], 1)

    def _step_tokens(self, obs: Tensor, rew: Tensor) -> Tensor:
        """Return tokens [B, L, W] of states [B, L, O] and of the rewards [B, L] of the steps that led there."""
        return self.step_token(torch.cat([self.obs_normalizer(obs), self.rew_normalizer(rew[..., None])], -1))

    def generate(self, request: SegmentRequest) -> Segments:
        states, rews, past = [request.obs], list[Tensor](), None
        with autocast(self.config.sampling_precision, request.obs.device):
            tokens = self._prompt(request.obs, request.act, request.rtg)
            if request.first is not None:
                states.append(request.first.obs[:, 1])
                rews.append(request.first.rew[:, 0])
                tokens = torch.cat([tokens, self._step_tokens(request.first.obs[:, 1:], request.first.rew)], 1)
            num_recorded = len(rews)
            for _ in range(num_recorded, request.horizon):
                out, past = self.network(tokens, past)
                change, rew = self._sample(out[:, -1], request.generator)
                states.append(states[-1] + change)
                rews.append(rew)
                tokens = self._step_tokens(states[-1][:, None], rew[:, None])
        obs = torch.stack(states, 1)
        discount = self.termination.discount(obs, num_recorded)
        return generated(obs, request.act[:, None], torch.stack(rews, 1), discount)

    def _sample(self, out: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample the raw change of state [B, O] and reward [B]."""
        mean, variance = mean_and_variance(self.head(out).float())
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        step = mean + self.config.temperature * variance.sqrt() * noise
        return self.change_normalizer.inverse(step[:, :-1]), self.rew_normalizer.inverse(step[:, -1:]).squeeze(-1)


def _recorded(windows: Windows) -> Tensor:
    """Return [B, T - 1, O + 1] bool: the next state, and the reward of the step to it, are recorded."""
    obs_mask = windows.transition_mask[..., None].expand(-1, -1, windows.obs.shape[2])
    return torch.cat([obs_mask, windows.step_mask[:, :-1, None]], -1)

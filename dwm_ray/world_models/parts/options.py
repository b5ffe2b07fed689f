"""Options that several world models share."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dwm_ray.devices import Precision
from dwm_ray.diffusion.conditioning import Encoder
from dwm_ray.diffusion.ddpm import Prediction, Schedule
from dwm_ray.diffusion.denoisers import AttentionDenoiser, Denoiser, DenoiserKind, ResidualMLP, TemporalUNet
from dwm_ray.options import Fraction, PositiveInt
from dwm_ray.world_models.base import FirstStepConfig, WorldModelConfig
from dwm_ray.world_models.parts.heads import ContinuationConfig
from dwm_ray.world_models.parts.window_units import Units

ProcessKind = Literal["ddpm", "edm", "flow"]


class PrecisionConfig(WorldModelConfig):
    """Precision of training and sampling."""

    training_precision: Precision = "fp32"
    """Precision of matrix products in training; weights and sums remain in float32."""
    sampling_precision: Precision = "fp32"
    """Precision of matrix products in sampling."""


class DenoiserConfig(PrecisionConfig):
    """Denoising network of a window."""

    sequence_length: Annotated[int, Field(ge=2)] = 8
    """T: states per window; segments have up to T - 1 steps."""
    denoiser: DenoiserKind = "unet"
    """'unet' is the papers' temporal U-Net, 'mlp' a residual MLP over the flattened window, 'attention' a transformer
    over its positions."""
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Size of each embedding and unit of the network's width."""
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 4, 8)
    """Widths in units of dim: U-Net channels per resolution, or hidden units per residual block of the others."""

    def length_for(self, needed: int) -> int:
        """Return the shortest window of at least `needed` states that fits; all but the U-Net take T only."""
        divisor = 2 ** (len(self.multipliers) - 1)
        return int(-(-needed // divisor) * divisor) if self.denoiser == "unet" else self.sequence_length

    def build_denoiser(self, size: int, encoder: Encoder) -> Denoiser:
        """Build the network for windows [B, T, size]."""
        if self.denoiser == "unet":
            return TemporalUNet(size, encoder, self.dim, self.multipliers)
        network = ResidualMLP if self.denoiser == "mlp" else AttentionDenoiser
        return network(self.sequence_length, size, encoder, self.dim, self.multipliers)

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.length_for(self.sequence_length) != self.sequence_length:
            raise ValueError(
                f"sequence_length: {self.sequence_length} does not fit the U-Net, which halves it once per entry of "
                f"multipliers {self.multipliers} after the first; expected a multiple of "
                f"{2 ** (len(self.multipliers) - 1)}"
            )
        return self


class WindowModelConfig(DenoiserConfig, FirstStepConfig, ContinuationConfig):
    """Options of DWM (arXiv 2402.03570) and of models that are built on it; the defaults are DWM's for T = 8."""

    SAMPLING: ClassVar[frozenset[str]] = FirstStepConfig.SAMPLING | {
        "guidance_scale",
        "solver_steps",
        "temperature",
        "first_order",
        "sampling_precision",
    }

    states: Units = "absolute"
    """Units of the states in a window: their empirical CDF (paper), or standardised changes since s_t, which are more
    accurate in the first steps."""
    process: ProcessKind = "ddpm"
    """Diffusion process: DDPM with K steps (paper), EDM, or flow matching."""
    entry_weights: Literal["equal", "log"] = "equal"
    """Weights of a window's entries in the loss. 'log' is the mean logarithm of the entries' errors: entries
    that can be predicted precisely are then learned precisely."""
    first_model: Literal["diffusion", "regression"] = "diffusion"
    """Model of the first step if it is not recorded: the diffusion itself (paper), or a regression on the start pair
    that learns from every step of the windows. The diffusion continues from its prediction, so set given_first."""
    given_first: Fraction = 0.0
    """Fraction of training windows in which the first step is given, so that the model learns to continue from a
    recorded first step (see first_step)."""
    diffusion_steps: PositiveInt = 5
    """K: noise levels of DDPM in training."""
    schedule: Schedule = "cosine"
    """Noise schedule of DDPM over the diffusion steps."""
    prediction: Prediction = "noise"
    """Output of the network with DDPM: the noise (paper), or the clean window, which is more stable in very few
    steps."""
    rtg_kind: Literal["episode", "window"] = "episode"
    """Return-to-go labels sum rewards to the end of the episode, or of the window (the paper's algorithm 17)."""
    condition_dropout: Fraction = 0.25
    """Fraction of training windows whose return-to-go is dropped."""
    solver_steps: PositiveInt = 3
    """N: network calls per segment. With DDPM, the error grows below K/2."""
    guidance_scale: Annotated[float, Field(ge=0)] = 1.2
    """w: 1 is plain conditioning; larger values follow the return-to-go more closely."""
    temperature: Annotated[float, Field(ge=0)] = 0.5
    """Scale of all noise in sampling."""
    first_order: bool = False
    """Sample EDM by its first-order solver. With few network calls it averages futures: the squared error is lower, but
    segments vary half as much as the data."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return the defaults that `pipelines/study.py ablation` varies one by one; see docs/results.md."""
        return {
            "sequence_length": 16,
            "denoiser": "mlp",
            "first_step": "recorded",
            "states": "change",
            "process": "edm",
            "entry_weights": "log",
            "first_model": "regression",
            "given_first": 1.0,
            "dim": 128,
            "multipliers": (4, 4, 4),
            "num_updates": 2500,
            "batch_size": 128,
            "learning_rate": 2e-3,
            "final_learning_rate": 0.02,
            "guidance_scale": 1.0,
            "solver_steps": 4,
            "temperature": 1.0,
            "training_precision": "auto",
            "sampling_precision": "auto",
        }

    @model_validator(mode="after")
    def _first_step_is_learned(self) -> Self:
        expected = self.given_first > 0 if self.first_model == "regression" else self.given_first < 1
        if not expected:
            raise ValueError(
                f"given_first: {self.given_first:g} does not fit first_model {self.first_model}; expected more than 0 "
                "with regression, which the diffusion continues, and less than 1 with diffusion, which learns the step"
            )
        return self

    @property
    def unused(self) -> frozenset[str]:
        of_ddpm = frozenset({"diffusion_steps", "schedule", "prediction"})
        return {"ddpm": frozenset({"first_order"}), "edm": of_ddpm, "flow": of_ddpm | {"first_order"}}[self.process]

    @property
    def knows_given_entries(self) -> bool:
        """Whether the network's condition contains the given entries; the paper's U-Net sees them in x only."""
        return self.denoiser == "mlp" or self.given_first > 0

    @model_validator(mode="after")
    def _few_steps(self) -> Self:
        if self.process == "ddpm" and self.solver_steps > self.diffusion_steps:
            raise ValueError(
                f"solver_steps: got {self.solver_steps}; expected at most diffusion_steps {self.diffusion_steps}"
            )
        return self

"""Interface of agents: they learn from segments of any world model and provide a policy."""

from abc import abstractmethod
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.agents.parts.networks import Scaling
from dwm_ray.agents.parts.noise import Generators, Noise
from dwm_ray.agents.parts.optimizer import adam_tensors, load_adam_tensors
from dwm_ray.data.task_data import TaskData
from dwm_ray.devices import Precision
from dwm_ray.options import Fraction, Plugin, PluginConfig, PositiveFraction, PositiveInt, RunOptions, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class AgentConfig(PluginConfig):
    """Options common to all agents."""

    hidden_size: PositiveInt = 256
    """Units per hidden layer."""
    num_hidden: PositiveInt = 2
    """Hidden layers per network, without the output layer."""
    matmul_precision: Precision = "fp32"
    """Precision of the matrix products between hidden layers; weights, sums, first and last layers stay fp32. 'auto' is
    bf16 if the device has instructions for it, else fp32."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return the changes of the profile `laptop`: updates are 1.8 times as fast, with the same learning curves."""
        return {"matmul_precision": "auto"}

    def check(self, run: RunOptions) -> None:
        """Raise ValueError if the agent does not support the run's `execution` options."""
        agent, model = self.plugin, run.world_model
        if run.execution.compiled and not agent.supports_compile:
            raise ValueError(f"execution.compiled: agent {self.plugin_name()} cannot be compiled; expected False")
        if not run.execution.cuda_graphs:
            return
        if not agent.supports_cuda_graphs:
            raise ValueError(
                f"execution.cuda_graphs: agent {self.plugin_name()} does not support CUDA graphs; expected False"
            )
        if model and not agent.plans and model.plugin.follows_policy:
            raise ValueError(
                f"execution.cuda_graphs: world model {model.plugin_name()} generates segments while the agent learns; "
                "expected False, or a world model whose segments are generated ahead of time"
            )


class CriticConfig(AgentConfig):
    """Options common to agents with a critic."""

    tau: PositiveFraction = 0.005
    """Polyak coefficient: fraction by which target networks move towards the learned ones in each update."""
    return_lambda: Fraction = 1.0
    """lambda of the lambda-return over imagined steps: 1 is value expansion (MVE), 0 is one-step TD."""
    penalty_weight: Annotated[float, Field(ge=0)] = 0.0
    """kappa: weight of the model's disagreement, subtracted from each imagined reward."""
    max_penalty_ratio: Annotated[float, Field(gt=0)] | None = None
    """Cut imagined segments before the first step whose disagreement exceeds this multiple of the batch's mean over
    first steps, which start from recorded pairs. Targets then bootstrap from an earlier state. None disables this."""
    imagined_expectile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Expectile of the critic's regression on imagined targets (LEQ): below .5, lower targets have more weight, which
    counteracts overestimation; .5 is the squared error. Recorded rows always use the squared error."""
    target_clip: Literal["none", "data"] = "data"
    """Bounds of the critic's targets: 'data' clips them to the discounted returns that the data's rewards allow, but
    only from above if `penalty_weight` lowers rewards."""


class Agent(Plugin, nn.Module):
    """Base class of agents. `state_dict` holds networks, targets and normalisers; `optimizer_state` holds the rest.

    Subclasses build their networks and `optimizers` in the constructor. Initial weights come from torch's global
    generator. Construct an agent, move it with `.to(device)`, then load the states of a run that is resumed.
    """

    Config: ClassVar[type[AgentConfig]]
    has_critic: ClassVar[bool] = True
    """False if the agent does not bootstrap, so that imagined rewards and horizons have no effect."""
    plans: ClassVar[bool] = False
    """True if acting samples the run's world model (see `attach`). Such an agent learns from recorded data only."""
    uses_next_act: ClassVar[bool] = False
    """True if `learn` reads `Segments.next_act`: batches then hold the action recorded after each transition."""
    member_options: ClassVar[dict[str, int] | None] = None
    """Options in which members of a population may differ, with the number of axes after P over which each one is
    broadcast. None if `learn` does not accept [P, B, ...]: the agent is limited to populations of one."""
    relative_flops: ClassVar[float] = 1.0
    """Approximate cost of an update with profile `laptop`, relative to behaviour cloning. Sweeps start long trials
    first."""
    supports_cuda_graphs: ClassVar[bool] = False
    """True if `learn` can be captured and replayed as a CUDA graph."""
    supports_compile: ClassVar[bool] = False
    """True if torch can compile `learn`: all of its noise comes from `sample_noise`."""

    def __init__(self, config: AgentConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.spaces = spaces
        self.network_args = (spaces, [config.hidden_size] * config.num_hidden, config.matmul_precision)
        """First arguments of the classes in `parts.networks`."""
        self.scaling = Scaling(spaces, stats)
        self.optimizers: dict[str, torch.optim.Adam] = {}
        self.num_updates = 0
        self.member_values = SimpleNamespace(**{name: getattr(config, name) for name in self.member_options or ()})
        """Values of `member_options`: numbers, or tensors [P, 1, ...] in a population whose members differ."""

    def attach(self, model: nn.Module, target_rtg: float) -> None:
        """Set the trained world model and the return-to-go of plans. The model becomes part of `state_dict`."""
        raise AssertionError(f"{type(self).__name__} does not plan")

    def start_pairs(self, segments: Segments) -> tuple[Tensor, Tensor]:
        """Return standardised states [..., B, O] and unit actions [..., B, A] of the start pairs."""
        return self.scaling.obs(segments.obs[..., 0, :]), self.scaling.unit(segments.act[..., 0, :])

    def update(self, segments: Segments, generator: torch.Generator) -> Metrics:
        """Perform one update on a batch; see `learn`."""
        return self.learn(segments, generator, self.next_update_kind())

    def next_update_kind(self) -> int:
        """Count the next update, set its learning rates and return its kind.

        Updates of one kind have the same operations. Kinds differ, for example, in whether a delayed policy is updated.
        """
        self.num_updates += 1
        return 0

    def sample_noise(self, segments: Segments, generator: Generators) -> Noise:
        """Return the noise of `learn`, which accepts it instead of a generator; by default the generator itself."""
        return generator

    @abstractmethod
    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        """Take the gradient steps of an update and return metrics: 0-d tensors on the device, without a host sync.

        With `supports_cuda_graphs` the operations depend only on the batch's shape and `kind`, and modify tensors only
        in place.
        """

    @abstractmethod
    def act(self, obs: Tensor) -> Tensor:
        """Return greedy actions [B, A] in the task's bounds for raw observations [B, O], without gradients.

        An exported policy is the traced function: it takes B from `obs.shape` (`len` would fix it) and samples nothing.
        """

    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Return actions [B, A] of the policy that on-policy rollouts follow; by default the greedy ones."""
        return self.act(obs)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return everything beyond `state_dict` that a resumed run needs, as named tensors."""
        state = {"num_updates": torch.tensor(self.num_updates)}
        for name, optimizer in self.optimizers.items():
            state |= adam_tensors(name, optimizer)
        return state

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Load `optimizer_state`; older states of some agents do not hold the number of updates."""
        self.num_updates = int(state.get("num_updates", 0))
        for name, optimizer in self.optimizers.items():
            load_adam_tensors(name, optimizer, state)


def new_agent(config: RunOptions, task_data: TaskData, device: torch.device) -> Agent:
    """Build an untrained agent, with initial weights from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        agent: Agent = config.agent.plugin(config.agent, task_data.episodes.spaces, task_data.stats, config.training)
    return agent.to(device)

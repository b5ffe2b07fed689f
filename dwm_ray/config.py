"""One run's options: a frozen pydantic tree that refuses unknown keys, to JSON and back without loss.

World model, agent and filter are plug-ins: their part of the tree is the `Config` of the chosen class, and in JSON
carries its `name`. A text below a field is its help on the command line.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from dwm_ray import registry

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """Base of every option group."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class PluginConfig(Frozen):
    """Options of a plug-in; defaults are the paper's, `preset('small')` is what a laptop can do."""

    @classmethod
    def plugin_name(cls) -> str:
        """The name of the file that defines the plug-in."""
        return cls.__module__.rsplit(".", 1)[1]

    @classmethod
    def preset(cls, name: Literal["paper", "small"]) -> Self:
        """Defaults for a size of machine."""
        return cls() if name == "paper" else cls(**cls.small())

    @classmethod
    def small(cls) -> dict[str, Any]:
        """What the preset `small` changes."""
        return {}

    @classmethod
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        """What a run with this plug-in sets elsewhere, by dotted path, before any flag (`profiles.run_config`). A path
        into a plug-in that the run has not is passed over."""
        return {}

    def check(self, run: RunConfig) -> None:
        """ValueError where this plug-in cannot work with the other parts of a run."""


def _plugin_field(kind: str) -> tuple[BeforeValidator, PlainSerializer]:
    def parse(value: Any) -> Any:
        if value is None or isinstance(value, PluginConfig):
            return value
        options = {"name": value} if isinstance(value, str) else dict(value)
        cls = registry.find(kind, options.pop("name", "<missing name>"))
        return cls.Config.model_validate(options)

    def dump(value: PluginConfig | None) -> Any:
        return None if value is None else {"name": value.plugin_name(), **value.model_dump(mode="json")}

    return BeforeValidator(parse), PlainSerializer(dump)


class DataConfig(Frozen):
    """Which logged data to learn from."""

    file: str | None = None
    """HDF5 (D4RL layout) or Parquet file, or None to look the task up: D4RL's own file, then the bundled recording."""
    env: str | None = None
    """Gymnasium id of the environment; needed with `file` where the file does not name it."""
    holdout_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of episodes (at least one) that no world model trains on, to measure its error."""


class SynthesisConfig(Frozen):
    """How start pairs become imagined segments."""

    horizon: PositiveInt = 5
    """H: imagined steps that enter a target. Streams hold T - 1 steps and serve every H below T."""
    target_rtg: float = 0.5
    """Return-to-go asked for, in units of the task's scale; optimistic is at or above the data's maximum."""
    num_segments: PositiveInt = 1_000_000
    """Segments drawn into the stream (start pairs repeat, in a new order, once all were used)."""
    block_rows: PositiveInt = 4096
    """Segments per block: the unit that samplers make and learners fetch."""
    seed: int = 0
    """Seeds the stream; apart from the run's seed, so that all seeds of a sweep share one stream."""
    refresh_every: PositiveInt = 1000
    """Updates from one version of the policy that samplers follow to the next (models that follow the policy)."""
    reuse: Annotated[float, Field(gt=0)] = 4.0
    """Times that a learner draws such a row on average: decides how many are imagined a version. At 4, about 2 % of a
    long run's rows are never drawn, more of the last versions'."""
    kept_versions: PositiveInt = 16
    """Versions whose rows a learner keeps (the public code's buffer holds 16); older rows follow a policy long gone."""
    max_staleness: Annotated[int, Field(ge=0)] = 1
    """Versions that the newest rows may lag behind the policy; 0 makes learner and samplers wait for each other."""
    rollout_shards: PositiveInt = 2
    """Parts that one on-policy refresh is divided into; samplers generate different shards in parallel. The rows depend
    on this number, but not on the number of samplers. Raise it if more samplers should work on one refresh."""


class ReplayConfig(Frozen):
    """What a batch is made of."""

    real_ratio: Share = 0.0
    """Exact share of each batch that is real transitions (length-1 segments); the rest is imagined."""
    capacity: PositiveInt = 2_000_000
    """Most imagined rows that the learner's ring keeps; the oldest go first."""
    min_synthetic: PositiveInt = 16_384
    """Imagined rows that must be in the ring before learning starts."""
    patience_s: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds to wait for them before the run ends with an error; it never goes on with real data alone."""


class TrainingConfig(Frozen):
    """The learner's loop."""

    num_updates: PositiveInt = 500_000
    """Gradient steps of the agent."""
    batch_size: PositiveInt = 256
    """Segments per gradient step."""
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """gamma, of targets and of return-to-go labels alike."""
    log_every: PositiveInt = 1000
    """Updates between two rows of metrics."""
    checkpoint_every: PositiveInt = 50_000
    """Updates between two checkpoints; at most this much work is lost by a crash."""


class EvaluationConfig(Frozen):
    """How a policy is scored."""

    num_episodes: PositiveInt = 10
    """Episodes of the final evaluation (last checkpoint)."""
    every: PositiveInt = 50_000
    """Updates between two evaluations during learning."""
    curve_episodes: PositiveInt = 3
    """Episodes of each of those."""


class ExecutionConfig(Frozen):
    """How a run is executed. These options are not part of the identity of a run."""

    compiled: bool = False
    """Compile agent updates with torch.compile: about 1.5 times the updates per second on one core. Compiling takes 20
    to 70 seconds in the first run and a third of that in later ones, so use it for hundreds of thousands of updates. It
    needs a C++ compiler on every node. Results differ in rounding. Tested on CPUs only."""
    cuda_graphs: bool = False
    """Replay agent updates as CUDA graphs on a GPU: one launch per update instead of hundreds. Works for recorded
    transitions and for segments generated ahead of time. Tested with an emulation on a CPU, not yet on a GPU."""
    sampler_cuda_graphs: bool = False
    """Replay the generation of segment blocks as CUDA graphs on a GPU; the rows are the same. Tested with an emulation
    on a CPU, not yet on a GPU."""
    download: bool = False
    """Download D4RL's file or the Minari dataset if it is not on this machine."""


class ClusterConfig(Frozen):
    """Who works where."""

    roles: Literal["auto", "on", "off"] = "auto"
    """on: samplers only on nodes that offer the custom resource sampler_node, trials, learners and world models only on
    those with learner_node; off: anywhere; auto: on where the cluster has, or may get, nodes with such a name."""
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 900.0
    """Seconds to wait for room for num_samplers and min_learners on a cluster of `ray up`, which is asked for it."""
    min_learners: PositiveInt = 1
    """Learners that must fit at once before work begins; where there is room for more, more trials run at once."""
    num_samplers: PositiveInt = 2
    """Sampler actors in the pool that fills the streams."""
    sampler_gpus: Annotated[float, Field(ge=0)] = 0.25
    """GPU share of a sampler, where the cluster has GPUs."""
    learner_cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs of one learner."""
    learner_gpus: Annotated[float, Field(ge=0)] = 0.25
    """GPU share of one learner and of one world-model worker, where the cluster has GPUs."""
    model_workers: PositiveInt = 1
    """Ray Train workers that train one world model."""
    prefetch_blocks: PositiveInt = 64
    """Blocks that a stream may run ahead of its foremost reader: the bound on imagined rows in flight."""
    buffer_bytes: PositiveInt = 2_000_000_000
    """Bytes of blocks that the buffer keeps in the object store; older ones stay on disk and come back on demand."""
    buffer_shards: PositiveInt = 1
    """Actors that share out the buffer's streams; one is enough for hundreds of blocks per second."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Restarts of a trial or learner from its last checkpoint."""


class RunConfig(Frozen):
    """Everything that decides one run."""

    task: str = "halfcheetah-medium-replay"
    """A row of the task table, minari:DATASET, or any name together with data.file."""
    seed: int = 0
    """Seeds the agent: initial weights, batches, noise, evaluation."""
    data: DataConfig = DataConfig()
    world_model: Annotated[PluginConfig | None, *_plugin_field("world_models")] = None
    agent: Annotated[PluginConfig, *_plugin_field("agents")]
    filter: Annotated[PluginConfig, *_plugin_field("filters")]
    synthesis: SynthesisConfig = SynthesisConfig()
    replay: ReplayConfig = ReplayConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    execution: ExecutionConfig = ExecutionConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _feasible(self) -> Self:
        for plugin in (self.world_model, self.agent, self.filter):
            if plugin is not None:
                plugin.check(self)
        return self

    def identity(self) -> dict[str, Any]:
        """Return the JSON tree of the options that decide results: all but those that decide where and how to run."""
        return self.model_dump(mode="json", exclude={"execution", "cluster"})

    def with_values(self, values: dict[str, Any]) -> RunConfig:
        """A copy with options replaced by dotted path, such as {'synthesis.horizon': 3}; validated again.

        A path without a dot replaces a whole group or plug-in ({'filter': 'hardmax'}), before its options are set.
        """
        tree = self.model_dump(mode="json")
        for path in [path for path in values if "." not in path]:
            _replace(tree, path, values[path])
        tree = RunConfig.model_validate(tree).model_dump(mode="json")
        for path in [path for path in values if "." in path]:
            _replace(tree, path, values[path])
        return RunConfig.model_validate(tree)


def _replace(tree: dict[str, Any], path: str, value: Any) -> None:
    *groups, leaf = path.split(".")
    for group in groups:
        tree = tree.get(group) or {}
    if leaf not in tree:
        raise ValueError(f"{path} is no option of the chosen plug-in")
    tree[leaf] = value


def fingerprint(value: Any) -> str:
    """16 hex digits of a JSON value: equal content, equal name."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

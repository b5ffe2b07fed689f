"""Option groups of a run that do not depend on its plug-ins."""

import json
import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dwm_ray.options.frozen import Fraction, Frozen, PositiveInt


def _checked_json(text: str | None) -> str | None:
    """Return the JSON object in canonical form; raise ValueError for other text."""
    try:
        tree = None if text is None else json.loads(text)
    except ValueError:
        tree = text
    if tree is not None and not isinstance(tree, dict):
        raise ValueError(f'data.env_kwargs: {text} is not a JSON object; expected one such as {{"frame_skip": 4}}')
    return None if tree is None else json.dumps(tree, sort_keys=True)


class DataConfig(Frozen):
    """Recorded data to learn from."""

    file: str | None = None
    """HDF5 (D4RL layout) or Parquet file with your own data; for a task ogbench:NAME, its .npz file or the folder that
    contains it. None selects the data of the task: D4RL's file if it is on this machine, else the bundled dataset."""
    env: str | None = None
    """Gymnasium id of the environment in which policies are scored. Set it if the data do not name their environment,
    or to override it. MODULE:NAME-v0 first imports the module, which may be in the working directory. none: data
    without a simulator; scores are then off-policy estimates. Data that name no environment are treated in the same
    way."""
    env_kwargs: Annotated[str | None, AfterValidator(_checked_json)] = None
    """Keyword arguments of the environment as a JSON object, such as {"frame_skip": 4}. They override those named by
    the data."""
    act_low: tuple[float, ...] | None = None
    """Lower bounds of actions for data without an environment: one number per dimension, or one for all dimensions.
    None uses the lowest recorded actions."""
    act_high: tuple[float, ...] | None = None
    """Upper bounds of actions; see data.act_low."""
    holdout_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Fraction of episodes (at least one) held out from world-model training to measure the model's error."""


TargetKind = Literal["absolute", "quantile", "factor"]


def parse_target(target: float | str) -> tuple[TargetKind, float]:
    """Return the kind and value of a `target_rtg`; 'own' is a factor of 1. Raise ValueError for other words."""
    word = str(target)
    if word == "own":
        return "factor", 1.0
    kinds: dict[str, TargetKind] = {"q": "quantile", "x": "factor"}
    kind = kinds.get(word[:1], "absolute")
    try:
        value = float(word if kind == "absolute" else word[1:])
    except ValueError:
        value = math.nan
    low, high = {"absolute": (-math.inf, math.inf), "quantile": (0, 1), "factor": (0, math.inf)}[kind]
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(f"{word!r} is not a target; expected a number, own, a quantile (q0.9) or a factor (x1.2)")
    return kind, value


def _checked_target(target: float | str) -> float | str:
    kind, value = parse_target(target)
    return value if kind == "absolute" else target


class SynthesisConfig(Frozen):
    """Generation of imagined segments."""

    horizon: PositiveInt = 5
    """H: imagined steps in a target, or recorded steps with recorded futures. A stream contains the longest segments of
    its model and can be used with every H below T."""
    target_rtg: Annotated[float | str, AfterValidator(_checked_target)] = 0.5
    """Return-to-go that segments are conditioned on. A number is in units of the task's scale. own: the label of each
    start pair. x1.2: this label, increased by 20 % of its magnitude. q0.9: the 0.9 quantile of all labels."""
    num_segments: PositiveInt | None = None
    """Segments in the stream; default: one per start pair, but at least 100 000. After all start pairs have been used
    once, they repeat in a new order."""
    block_rows: PositiveInt = 4096
    """Segments per block, the unit that samplers generate and learners fetch."""
    seed: int = 0
    """Seed of the stream. It is independent of the seed of the run, so that all seeds of a sweep share one stream."""
    refresh_every: PositiveInt = 1000
    """Updates between on-policy refreshes, for world models that follow the policy."""
    reuse: Annotated[float, Field(gt=0)] = 4.0
    """Average number of times that each row of a refresh is sampled; determines the number of rows per refresh. At 4,
    about 2 % of the rows of a long run are never sampled."""
    rollout_shards: PositiveInt = 2
    """Rollout shards per refresh; samplers generate them in parallel. The rows depend on this number, but not on the
    number of samplers. Increase it to use more samplers per refresh."""
    kept_versions: PositiveInt = 16
    """Number of policy versions whose rows are retained in the learner's buffer (16 in DyDiff's public code)."""
    max_staleness: Annotated[int, Field(ge=0)] = 1
    """Maximum number of versions by which the newest rows lag behind the policy. At 0, learner and samplers wait for
    each other."""

    @property
    def planned_rtg(self) -> float:
        """Return-to-go of plans, which start from states without labels; raise ValueError if it is not a number."""
        if isinstance(self.target_rtg, str):
            raise ValueError(
                f"synthesis.target_rtg: {self.target_rtg} is relative to the data, and an agent that plans starts from "
                "new states; expected a number"
            )
        return self.target_rtg


class ReplayConfig(Frozen):
    """Composition of batches."""

    real_ratio: Fraction = 0.0
    """Exact fraction of recorded rows in each batch; the rest is imagined."""
    real_steps: Literal["one", "horizon"] = "one"
    """Steps per recorded row: one, or up to synthesis.horizon (recorded futures)."""
    capacity: PositiveInt = 2_000_000
    """Capacity of the learner's ring of imagined rows; the oldest rows are overwritten first."""
    min_synthetic: PositiveInt = 16_384
    """Number of imagined rows that must be in the ring before learning starts."""
    patience_s: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds to wait for these rows. Then the run fails; it does not continue with recorded data alone."""


class TrainingConfig(Frozen):
    """Training of the agent."""

    num_updates: PositiveInt = 500_000
    """Gradient steps of the agent."""
    batch_size: PositiveInt = 256
    """Segments per gradient step."""
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """gamma of targets and of return-to-go labels."""
    log_every: PositiveInt = 1000
    """Updates between two rows of metrics."""
    checkpoint_every: PositiveInt = 50_000
    """Updates between two checkpoints; a crash loses at most this many."""


class EvaluationConfig(Frozen):
    """Evaluation of policies."""

    num_episodes: PositiveInt = 10
    """Episodes of the final evaluation, after the last update."""
    every: PositiveInt = 50_000
    """Updates between two evaluations during learning."""
    curve_episodes: PositiveInt = 3
    """Episodes of each evaluation during learning."""
    estimate_updates: PositiveInt = 1000
    """Critic updates of an off-policy estimate, for data without an environment."""
    estimate_model_updates: PositiveInt = 20_000
    """Updates of the one-step ensemble whose rollouts estimate the return of policies; all trials share it."""


class ExecutionConfig(Frozen):
    """Execution of a run. These options are not part of the run's identity."""

    compiled: bool = False
    """Compile agent updates with torch.compile: about 1.5 times the updates per second on one core. Compilation takes
    20 to 70 seconds in the first run and a third of that in later runs, so use it for hundreds of thousands of updates.
    It needs a C++ compiler on every node. Results differ in rounding. Tested only on CPUs."""
    cuda_graphs: bool = False
    """Replay agent updates as CUDA graphs on a GPU: one launch per update instead of hundreds. Works for recorded
    transitions and for segments generated ahead of time. Tested with an emulation on a CPU, not yet on a GPU."""
    sampler_cuda_graphs: bool = False
    """Replay the generation of segment blocks as CUDA graphs on a GPU; the rows do not change. Tested with an emulation
    on a CPU, not yet on a GPU."""
    download: bool = False
    """Download D4RL's file or the Minari dataset if it is not on this machine."""
    wandb: str | None = None
    """Weights & Biases project that also receives the metrics of each trial and world model. Needs the extra wandb. Its
    environment variables apply, such as WANDB_MODE=offline."""


class ClusterConfig(Frozen):
    """Placement of processes on Ray. These options are not part of the run's identity."""

    roles: Literal["auto", "on", "off"] = "auto"
    """on: place samplers on nodes with the custom resource sampler_node, and trials, learners and world-model workers
    on nodes with learner_node. off: place them anywhere. auto: on if the cluster has or can add such nodes."""
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 900.0
    """Seconds to wait until an autoscaling cluster has room for num_samplers and min_learners."""
    min_learners: PositiveInt = 1
    """Minimum number of learners for which the cluster must have room before work starts. More trials run in parallel
    if there is room."""
    num_samplers: PositiveInt = 2
    """Sampler actors that generate segments."""
    sampler_gpus: Annotated[float, Field(ge=0)] = 0.25
    """GPU quota of one sampler, if the cluster has GPUs."""
    learner_cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs of one learner."""
    learner_gpus: Annotated[float, Field(ge=0)] = 0.25
    """GPU quota of one learner and of one world-model worker, if the cluster has GPUs."""
    model_workers: PositiveInt = 1
    """Ray Train workers that train one world model together. Each samples windows and noise for its fraction of the
    batch, so the weights depend on this number; ids of trials and world models do not. Use the same number in all runs
    that you compare."""
    prefetch_blocks: PositiveInt = 64
    """Prefetch limit: number of blocks by which a stream may be ahead of its fastest reader. Limits the imagined rows
    that wait for readers."""
    buffer_bytes: PositiveInt = 2_000_000_000
    """Bytes of blocks that the buffer holds in the object store; other blocks are read from disk when needed."""
    buffer_shards: PositiveInt = 1
    """Number of buffer actors, each of which owns some of the streams. One handles hundreds of blocks per second."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Number of restarts of a trial or learner from its last checkpoint before it counts as failed."""

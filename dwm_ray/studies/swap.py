"""Parts of a future that make recorded targets better than imagined ones: agents learn from segments composed of both.

Agents of several seeds learn from the same start pairs with segments that take rewards, terminations and states from
recorded or imagined futures. If the score falls when a part is imagined, the world model must learn this part better.
Two more rows show the effect of the return-to-go label, which is replaced by that of another start pair, and of the
recorded first step. Outcomes are stored, so that the study can be stopped and restarted.

Another table shows where targets differ: the advantages of all compositions under the values learned from recorded
futures.
"""

from dataclasses import asdict
from statistics import mean, pstdev

import torch

from dwm_ray import __version__
from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.blocks.futures import complete_windows
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.evaluation.evaluators import evaluate_agent
from dwm_ray.evaluation.rollout import Diverged
from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import method_name
from dwm_ray.options import PLACEMENT, PositiveInt, fingerprint
from dwm_ray.registry import find
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.report.findings import Findings
from dwm_ray.report.table import Cell, Table, format_score
from dwm_ray.runs.folder import read_json
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, Subject, subjects, summary_line
from dwm_ray.studies.swap_parts import MIXES, RECORDED, SECOND_SAMPLE, Mix, advantages, futures_of, statistics_of
from dwm_ray.training.learner import Learner
from dwm_ray.types import Json, Segments
from dwm_ray.world_models.parts.build import model_fingerprint

SCORES_NOTE = (
    "Means over seeds, ± between seeds. Columns name the future that each part is taken from: recorded, imagined, "
    "continued (imagined from the recorded first step on) or shuffled (imagined with the return-to-go of another pair)."
)
ADVANTAGES_NOTE = (
    "Advantage: discounted rewards, plus the value of the last state, minus that of the first, by the agents that "
    "learned from recorded futures. Slope: of its regression on their Q - V; below the recorded slope, targets lose a "
    "part of the action's effect. Ending: mean over start pairs whose recorded future ends the task. Second sample: "
    "another future by the same model; a perfect model correlates with the recording as with its second sample."
)
FUTURES_NOTE = "Discounted sums of rewards over the segment. Correlation with the recorded sum is over start pairs."


class SwapOptions(StudyOptions):
    """Options of the study."""

    world_models: tuple[str, ...] = ("dwm",)
    """World models to study; they do not follow the policy. The one chosen by --world-model has the options of the
    command line; others have their defaults."""
    agents: tuple[str, ...] = ("iql",)
    """Agents to train. The one chosen by --agent has the options of the command line; others have their defaults."""
    horizon: PositiveInt = 10
    """H: steps per segment."""
    agent_updates: PositiveInt = 10_000
    """Updates of each agent."""
    num_seeds: PositiveInt = 3
    """Seeds of each agent, trained as one population where the agent allows it."""
    num_pairs: PositiveInt = 200_000
    """Largest number of start pairs."""


def measure(context: StudyContext, options: SwapOptions) -> Findings:
    """Train all agents on all compositions. Raise ValueError for unsuitable world models and agents."""
    _check_agents(options)
    models = subjects(context, options)
    compared = [comparison for subject in models for comparison in _compare(context, subject, options)]
    return Findings(
        title=f"Recorded and imagined parts of targets: {context.config.task}",
        summary=[
            f"{options.horizon}-step segments from {compared[0]['num_pairs']} start pairs; scores after "
            f"{options.agent_updates} updates of {options.num_seeds} seeds, last checkpoint.",
            summary_line(context, [subject.config for subject in models], options),
        ],
        tables=_tables(compared),
        figures=[],
        numbers={"comparisons": compared},
    )


def _check_agents(options: SwapOptions) -> None:
    for name in options.agents:
        if not find("agents", name).has_critic:
            raise ValueError(f"--agents: {name} has no critic; expected agents that learn from targets")


def _compare(context: StudyContext, subject: Subject, options: SwapOptions) -> list[Json]:
    futures = _futures(context, subject, options)
    comparisons = []
    for agent in options.agents:
        config = _agent_config(context, subject, agent, options)
        mixes = [mix for mix in MIXES if mix.parts <= futures.keys()]
        context.log(f"{subject.label}: {len(futures[RECORDED])} start pairs, {len(mixes)} compositions for {agent}")
        outcomes = [_outcome(context, config, mix, futures, options) for mix in mixes]
        name, num_pairs = method_name(config.model_dump(mode="json")), len(futures[RECORDED])
        statistics = statistics_of(futures)
        comparisons.append({"method": name, "num_pairs": num_pairs, "futures": statistics, "outcomes": outcomes})
    return comparisons


def _futures(context: StudyContext, subject: Subject, options: SwapOptions) -> dict[str, Segments]:
    model, discount = subject.model, subject.config.training.discount
    if model.follows_policy or not model.starts_from_data:
        raise ValueError(
            f"--world-models: {model.config.plugin_name()} follows the policy or chooses its own start pairs; expected "
            "a model whose segments start from recorded pairs and can be generated ahead of time"
        )
    if options.horizon > model.max_horizon:
        raise ValueError(
            f"--horizon: {options.horizon} is too long for {model.config.plugin_name()}; expected at most "
            f"{model.max_horizon}, or a longer --world-model.{model.config.horizon_limit[0].replace('_', '-')}"
        )
    generator = context.generator(options.study_seed)
    windows = complete_windows(context.windows(subject.config, options.horizon + 1), options.num_pairs, generator)
    return futures_of(model, windows, context.task_data.task.termination, discount, generator)


def _agent_config(context: StudyContext, subject: Subject, agent: str, options: SwapOptions) -> RunConfig:
    model = profiles.name_of(subject.config.world_model)
    config = profiles.with_method(subject.config, context.profile, model, agent)
    return config.with_values({"training.num_updates": options.agent_updates})


def _outcome(
    context: StudyContext, config: RunConfig, mix: Mix, futures: dict[str, Segments], options: SwapOptions
) -> Json:
    """Return the outcome of one composition: its parts, scores by seed and advantages by composition.

    The outcome of an earlier study with the same data, options and code is read from its file.
    """
    key = [
        __version__,
        context.task_data.identity.fingerprint,
        model_fingerprint(config, context.task_data.identity),
        config.model_dump(mode="json", exclude=set(PLACEMENT)),
        options.model_dump(mode="json", include={"horizon", "num_seeds", "num_pairs", "study_seed"}),
        list(map(asdict, (mix, *MIXES, SECOND_SAMPLE))),  # advantages are those of all compositions
    ]
    path = context.store.root / "swap" / f"{fingerprint(key)}.json"
    stored = read_json(path)
    if stored is None:
        stored = _trained_outcome(context, config, mix, futures, options.num_seeds)
        write_json(path, stored)
    return {"mix": asdict(mix), **stored}


def _trained_outcome(
    context: StudyContext, config: RunConfig, mix: Mix, futures: dict[str, Segments], num_seeds: int
) -> Json:
    configs = [config.with_values({"seed": seed}) for seed in range(num_seeds)]
    agents = _train(context, configs, mix.of(futures))
    scores = [_score(context, agent, item) for agent, item in zip(agents, configs, strict=True)]
    context.log(f"  {mix.name}: {', '.join('diverged' if score is None else f'{score:.1f}' for score in scores)}")
    gains = [advantages(agent, futures) for agent in agents]
    means = {name: _means([item[name] for item in gains]) for name in gains[0]}
    return {"scores": scores, "advantages": means}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: mean(row[key] for row in rows) for key in rows[0]}


def _train(context: StudyContext, configs: list[RunConfig], segments: Segments) -> list[Agent]:
    """Train one agent per run on the same segments."""
    shape = SegmentShape.of(segments)
    ring, device = Ring.of_recorded(shape.fuse(segments), shape), context.device
    source = Mixture(ring, None, 1.0, configs[0].training.batch_size)
    agents = [new_agent(config, context.task_data, device) for config in configs]
    generators = [torch.Generator(device).manual_seed(config.seed) for config in configs]
    members = list(zip(agents, generators, strict=True))
    groups = [members] if agents[0].member_options is not None else [[member] for member in members]
    for group in groups:
        population, noise = zip(*group, strict=True)
        Learner(population, [source] * len(group), noise).run(configs[0].training.num_updates)
    return agents


def _score(context: StudyContext, agent: Agent, config: RunConfig) -> float | None:
    """Return the mean score; None if learning diverged."""
    try:
        return float(evaluate_agent(agent, config, context.task_data, config.evaluation.num_episodes)["score_mean"])
    except Diverged:
        return None


def _tables(compared: list[Json]) -> list[Table]:
    """Return the tables of all world models and agents, from the numbers of the study."""
    tables = (_scores_table, _advantages_table, _futures_table)
    return [table(comparison) for comparison in compared for table in tables]


def _scores_table(comparison: Json) -> Table:
    rows: list[list[Cell]] = []
    for outcome in comparison["outcomes"]:
        finished = [score for score in outcome["scores"] if score is not None]  # None: learning diverged
        score = format_score(mean(finished), pstdev(finished)) if finished else format_score(None, None)
        rows.append([*outcome["mix"].values(), score])
    headers = ["segments", "rewards", "ends", "states", "score"]
    return Table(f"{comparison['method']}: scores by the parts of its targets", headers, rows, SCORES_NOTE)


def _advantages_table(comparison: Json) -> Table:
    rows: list[list[Cell]] = [
        [name, *(row[key] for key in ("std", "correlation", "sample_correlation", "slope", "ending"))]
        for name, row in comparison["outcomes"][0]["advantages"].items()
    ]
    headers = ["segments", "standard deviation", "correlation with recorded", "with imagined", "slope", "ending"]
    return Table(f"{comparison['method']}: advantages of start pairs", headers, rows, ADVANTAGES_NOTE)


def _futures_table(comparison: Json) -> Table:
    headers = ["future", "reward sum", "standard deviation", "correlation", "ended", "ended in both"]
    rows: list[list[Cell]] = [
        [
            future["future"],
            *(future[f"reward_sum{suffix}"] for suffix in ("", "_std", "_correlation")),
            *(f"{future[name]:.2%}" for name in ("ended", "ended_in_both")),
        ]
        for future in comparison["futures"]
    ]
    return Table(f"{comparison['method']}: futures", headers, rows, FUTURES_NOTE)


STUDY = Study(SwapOptions, measure)

"""`run(config)`: one run in one process, without Ray - the specification that the cluster executes in parts.

    data -> world model (trained, or found in the run folder) -> stream of imagined segments -> learner -> scores

The parts below are what the Ray pipeline is made of too: `learn_trial` is its learner, with another feed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.build import new_agent
from dwm_ray.blocks.stream import generate_block
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data, window_sets
from dwm_ray.devices import device_for
from dwm_ray.evaluation.rollout import evaluate
from dwm_ray.evaluation.scores import summarize
from dwm_ray.experiment.search_space import Trial
from dwm_ray.local.blocks import stored_rings
from dwm_ray.replay.on_policy import LocalRollouts, OnPolicySource, RolloutContext, RolloutGenerator
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sharing import stream_of
from dwm_ray.replay.source import BatchSource
from dwm_ray.replay.sources import InlineSource, Intake, mixture, real_ring, selection, source_kind
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.training.agent import AgentTrainer, NonFiniteLoss
from dwm_ray.training.fit import fit, is_trained, log_row, publish
from dwm_ray.training.learn import learn
from dwm_ray.training.model_store import load_model
from dwm_ray.training.policy_store import save_agent
from dwm_ray.training.resume import load_state, resume_folder, save_state
from dwm_ray.training.world_model import WorldModelTrainer
from dwm_ray.training.writers import MetricsWriter
from dwm_ray.types import SegmentShape
from dwm_ray.world_models.base import WorldModel, model_options, sampling_options
from dwm_ray.world_models.parts.build import model_fingerprint, new_model


def run(config: RunConfig, folder: RunFolder, task_data: TaskData | None = None) -> dict[str, Any]:
    """Train, imagine, learn, evaluate; returns the row of the final evaluation. Results lie in the run folder; what an
    earlier try has left there is gone on with. The run's data are loaded where they are not given."""
    task_data, device = task_data or load_task_data(config), device_for(config)
    model = None if config.world_model is None else world_model(config, task_data, folder, device)
    trial = folder.trial(Trial(config, {}).id)
    agent = ready_agent(config, task_data, model, device)
    ring = None
    if model and source_kind(config) == "stream":
        [ring] = stored_rings([config], task_data, model, folder, device).values()
    trainer = agent_trainer(config, task_data, agent, model, ring)
    seconds = resume(trainer, folder.fetched(trial))

    def keep(row: dict[str, Any]) -> None:
        save_state(trial, trainer.state_dict(), row["seconds"])
        folder.push(trial)

    try:
        final = learn_trial(trainer, config, task_data, trial, keep, seconds_before=seconds)
    finally:
        folder.push(trial)
    folder.remove(resume_folder(trial))
    return final


def resume(trainer: AgentTrainer | WorldModelTrainer, path: Path) -> float:
    """Load the state that an earlier try has kept in the folder of a trial or a world model, if there is one; returns
    the seconds of work already spent."""
    kept = load_state(path)
    if kept is None:
        return 0.0
    state, seconds = kept
    trainer.load_state_dict(state)
    return seconds


def world_model(config: RunConfig, task_data: TaskData, folder: RunFolder, device: torch.device) -> WorldModel:
    """The run's world model: found whole in the run folder, or trained here."""
    path = folder.fetched(folder.world_model(model_fingerprint(config, task_data.identity)))
    if not is_trained(path):
        train_world_model(config, task_data, folder, path, device)
    folder.push(path)
    return trained_model(config, path, device)


def train_world_model(
    config: RunConfig, task_data: TaskData, folder: RunFolder, path: Path, device: torch.device
) -> None:
    """Train it and publish it at `path`; what an earlier try has left there is gone on with."""
    trainer = world_model_trainer(config, task_data, device)
    seconds = resume(trainer, path)
    with MetricsWriter(path, trainer.update) as writer:

        def keep(row: dict[str, Any]) -> None:
            log_row(writer, row)
            save_state(path, trainer.state_dict(), row["seconds"])
            folder.push(path)

        seconds = fit(trainer, model_options(config).num_updates, keep, seconds)
    publish(path, trainer.averaged, config, task_data, trainer.update, seconds)
    folder.remove(resume_folder(path))


def trained_model(config: RunConfig, path: Path, device: torch.device) -> WorldModel:
    """A world model's weights, which runs share, with the run's own options of sampling."""
    return load_model(path, device).with_options(sampling_options(config))


def ready_agent(config: RunConfig, task_data: TaskData, model: WorldModel | None, device: torch.device) -> Agent:
    """The run's agent at its first update, with its world model where it plans with one."""
    agent = new_agent(config, task_data, device)
    if agent.plans:
        assert model is not None  # RunConfig has checked
        agent.attach(model, config.synthesis.target_rtg)
    return agent


def world_model_trainer(
    config: RunConfig,
    task_data: TaskData,
    device: torch.device,
    rank: int = 0,
    num_workers: int = 1,
    average_gradients: Callable[[list[torch.nn.Parameter]], None] | None = None,
) -> WorldModelTrainer:
    """A trainer at its first step; workers share initial weights and draw different windows."""
    model = new_model(config, task_data, device)
    train, holdout = window_sets(config, task_data, model.sequence_length, device)
    options = model_options(config)
    generator = torch.Generator(device).manual_seed(options.seed * 1000 + rank)
    rank_batch = max(1, model.windows_per_update // num_workers)
    return WorldModelTrainer(model, train, holdout, generator, average_gradients, rank_batch)


def imagined_ring(config: RunConfig, task_data: TaskData, model: WorldModel, device: torch.device) -> Ring:
    """The run's whole stream, drawn here and stored nowhere, as the learner keeps it; `stored_rings` is for a run with
    a folder."""
    spec, rule = stream_of(config, task_data), task_data.task.termination
    starts = task_data.start_pairs(config.training.discount, device)
    intake = Intake(spec, selection(config), config.replay, device)
    for index in range(spec.num_blocks):
        segments = generate_block(spec, index, model.with_options(spec.sampling), starts, rule)
        shape = SegmentShape.of(segments)
        intake.take(index, shape.fuse(segments).cpu().numpy(), shape)
    return intake.filled


def agent_trainer(
    config: RunConfig,
    task_data: TaskData,
    agent: Agent,
    model: WorldModel | None,
    synthetic: Ring | None,
    drawer: RolloutGenerator | None = None,
) -> AgentTrainer:
    """The learner at its first update. `synthetic` is the ring of a run with a stream; `drawer` imagines rounds for a
    run that needs them, this process where there is none."""
    device = next(agent.parameters()).device
    generator = torch.Generator(device).manual_seed(config.seed)
    real = real_ring(config, task_data, device)
    kind = source_kind(config)
    source: BatchSource = mixture(config, real, synthetic)
    if kind in ("inline", "rounds"):
        assert model is not None
        rule = task_data.task.termination
        if kind == "inline":
            source = InlineSource(config, real, model, agent, rule, generator)
        else:
            starts = task_data.start_pairs(config.training.discount, device)
            drawer = drawer or LocalRollouts(config, RolloutContext(model, starts, rule, selection(config)))
            source = OnPolicySource(config, real, drawer, agent)
    return AgentTrainer(agent, source, generator, config.execution)


def learn_trial(
    trainer: AgentTrainer,
    config: RunConfig,
    task_data: TaskData,
    folder: Path,
    on_checkpoint: Callable[[dict[str, Any]], None],
    gauges: Callable[[], dict[str, float]] = dict,
    seconds_before: float = 0.0,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Learn to the last update, then leave the last checkpoint and the status `done` in the trial's folder; `failed`
    where learning diverged."""
    agent = trainer.agent
    set_status(folder, "running", updates=trainer.update)
    with MetricsWriter(folder, trainer.update, on_row) as writer:
        try:
            scores = evaluator(agent, config, task_data)
            final = learn(trainer, config, writer, scores, on_checkpoint, gauges, seconds_before)
        except NonFiniteLoss as error:
            set_status(folder, "failed", error=str(error), updates=trainer.update)
            raise
    conclude_trial(folder, agent, config, task_data, trainer.update, final)
    return final


def conclude_trial(
    folder: Path, agent: Agent, config: RunConfig, task_data: TaskData, update: int, final: dict[str, Any]
) -> None:
    """A trial's last checkpoint and the status `done`."""
    save_agent(folder / "checkpoint", agent, config, task_data, update)
    set_status(folder, "done", updates=update, seconds=final["seconds"])


def evaluator(agent: Agent, config: RunConfig, task_data: TaskData) -> Callable[[int], dict[str, Any]]:
    """Number of episodes -> scores of the agent's greedy policy in the task's environment."""
    device = next(agent.parameters()).device

    def evaluated(num_episodes: int) -> dict[str, Any]:
        seed = 10_000 + 1000 * config.seed
        result = evaluate(lambda obs: agent.act(obs.to(device)).cpu(), task_data.task.env_id, num_episodes, seed)
        scores = summarize(result.returns, task_data.task)
        return {**scores, "returns": result.returns.tolist(), "policy_ms": result.policy_ms}

    return evaluated

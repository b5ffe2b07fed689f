"""Framework of the studies: options, data, trained world models and the folder that stores them.

A study is one file in this folder with a `STUDY`; no other file needs an edit. World models are trained in this process
and stored below `--output` by the fingerprint that runs use: studies share them, and a second run of a study reuses
them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import torch
from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, all_windows, window_sets
from dwm_ray.data.windows import WindowSet
from dwm_ray.errors import lookup
from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import world_model_label
from dwm_ray.local.services import LocalServices
from dwm_ray.options import Frozen, PositiveInt, Profile
from dwm_ray.registry import modules_of, plugins, summary
from dwm_ray.report.findings import Findings
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.fit_world_model import is_trained
from dwm_ray.training.stores import load_model
from dwm_ray.world_models.base import WorldModel, model_options, trained_options
from dwm_ray.world_models.parts.build import model_fingerprint

PROGRESS_S = 15.0
"""Seconds between two lines about a world model in training."""


class StudyOptions(Frozen):
    """Options of every study."""

    world_models: tuple[str, ...] = ("dwm", "one_step")
    """World models to study, or 'all'. The one chosen by --world-model has the options of the command line; others have
    their defaults."""
    model_updates: PositiveInt | None = None
    """Gradient steps of every world model; the default is that of the profile."""
    run: str | None = None
    """Run folder, or its storage address, that provides trained world models, task, data and all run options; nothing
    is trained."""
    output: Path = Path("runs/studies")
    """Parent folder of the study's results and of the world models that it trains."""
    study_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the study itself: windows, permutations, clones."""
    markdown: bool = False
    """Print the tables as Markdown."""


@dataclass(frozen=True)
class Subject:
    """A trained world model and the run that it belongs to."""

    label: str
    config: RunConfig
    model: WorldModel


@dataclass(frozen=True)
class StudyContext:
    """Data, device and stored world models of a study."""

    config: RunConfig
    """The run that the command line describes."""
    profile: Profile
    task_data: TaskData
    device: torch.device
    store: RunFolder
    """Folder of the trained world models."""
    log: Callable[[str], None]

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator on the device of models and windows."""
        return torch.Generator(self.device).manual_seed(seed)

    def trained(self, config: RunConfig) -> WorldModel:
        """Return the world model of a run; train it if it is not stored."""
        path = self.store.world_model(model_fingerprint(config, self.task_data.identity))
        options = model_options(config)
        if is_trained(path):
            self.log(f"world model {options.plugin_name()}: found in {path}")
            return LocalServices(self.task_data, self.store).world_model(config)
        self.log(f"world model {options.plugin_name()}: training, {options.num_updates} updates")
        with self._progress(path, options.num_updates):
            return LocalServices(self.task_data, self.store).world_model(config)

    def _progress(self, folder: Path, num_updates: int) -> AbstractContextManager[None]:
        """Log the progress of the training in `folder` in the background."""

        def run(stop: Event) -> None:
            while not stop.wait(PROGRESS_S):
                if rows := read_rows(folder / "metrics.jsonl"):
                    loss = f"held-out loss {rows[-1]['holdout_loss']:.3g}"
                    self.log(f"  {rows[-1]['update']} of {num_updates} updates, {loss}")

        return in_background("progress", run)

    def windows(self, config: RunConfig, length: int) -> WindowSet:
        """Return windows of `length` states over all data, with the returns-to-go of the run's world model."""
        return all_windows(config, self.task_data, length, self.device)

    def holdout(self, config: RunConfig, length: int) -> WindowSet:
        """Return windows of `length` states that no world model was trained on."""
        return window_sets(config, self.task_data, length, self.device)[1]


@dataclass(frozen=True)
class Study:
    """A question and the function that answers it."""

    options: type[StudyOptions]
    measure: Callable[[StudyContext, Any], Findings]
    name: str = ""
    """Name of the module."""
    help: str = ""
    """First paragraph of the module's docstring."""


def studies() -> dict[str, Study]:
    """Return all studies by name."""
    modules = {name: module for name, module in modules_of("dwm_ray.studies").items() if hasattr(module, "STUDY")}
    return {name: replace(module.STUDY, name=name, help=summary(module)) for name, module in modules.items()}


def find_study(name: str) -> Study:
    """Return a study by name. Raise ValueError with the nearest names for an unknown one."""
    return lookup(studies(), name, "unknown study")


def subjects(context: StudyContext, options: StudyOptions) -> list[Subject]:
    """Return the trained world models to study."""
    if options.run is not None:
        return _of_run(context, RunFolder.open(options.run))
    configs = configs_of(context, options)  # all names are checked before any model is trained
    return [Subject(world_model_label(profiles.name_of(c.world_model)), c, context.trained(c)) for c in configs]


def configs_of(context: StudyContext, options: StudyOptions) -> list[RunConfig]:
    """Return the run of the command line once per world model, with the number of updates of the study."""
    named = None if options.world_models == ("all",) else options.world_models
    agent = profiles.name_of(context.config.agent)
    names = dict.fromkeys(named or plugins("world_models"))
    configs = [profiles.with_method(context.config, context.profile, name, agent) for name in names]
    configs = [config for config in configs if named or trained_options(config) is not None]
    if untrained := [profiles.name_of(config.world_model) for config in configs if trained_options(config) is None]:
        raise ValueError(f"--world-models {' '.join(untrained)}: has no weights; expected world models with weights")
    if options.model_updates is None:
        return configs
    return [config.with_values({"world_model.num_updates": options.model_updates}) for config in configs]


def summary_line(context: StudyContext, configs: list[RunConfig], options: StudyOptions) -> str:
    """Describe the world models of the study."""
    models = [f"{world_model_label(profiles.name_of(c.world_model))} {model_options(c).num_updates}" for c in configs]
    return f"Updates of world models: {', '.join(models)}. Profile {context.profile}; study seed {options.study_seed}."


def _of_run(context: StudyContext, run: RunFolder) -> list[Subject]:
    """Return all trained world models of a run folder; fingerprints distinguish several of one kind."""
    folders = [path for path in sorted((run.root / "world_models").glob("*")) if is_trained(path)]
    if not folders:
        raise ValueError(f"--run {run.root}: expected a run with a trained world model")
    models = [load_model(path, context.device) for path in folders]
    names = [model.config.plugin_name() for model in models]
    suffixes = [f" {path.name[:6]}" if names.count(name) > 1 else "" for path, name in zip(folders, names, strict=True)]
    return [
        Subject(world_model_label(name) + suffix, _run_with(context, model), model)
        for name, suffix, model in zip(names, suffixes, models, strict=True)
    ]


def _run_with(context: StudyContext, model: WorldModel) -> RunConfig:
    agent = profiles.name_of(context.config.agent)
    base = profiles.with_method(context.config, context.profile, model.config.plugin_name(), agent)
    return RunConfig.model_validate({**dict(base), "world_model": model.config})

"""What a study is, and what it works with: data, trained world models, a place for them.

A study is one file in this folder with a `STUDY`; nothing else has to be edited to add one. World models are trained in
this process, below `--output`, by the fingerprint that runs give them: studies share them, and a second run of a study
finds them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, window_sets
from dwm_ray.data.windows import RtgKind, WindowSet
from dwm_ray.errors import suggest
from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import world_model_label
from dwm_ray.experiment.profiles import Profile
from dwm_ray.local.run import world_model
from dwm_ray.options import Frozen, PositiveInt
from dwm_ray.registry import plugins
from dwm_ray.report.findings import Findings
from dwm_ray.runs.folder import RunFolder
from dwm_ray.studies.ticker import ticking
from dwm_ray.training.fit import is_trained
from dwm_ray.training.model_store import load_model
from dwm_ray.world_models.base import WorldModel, model_options
from dwm_ray.world_models.parts.build import model_fingerprint


class StudyOptions(Frozen):
    """Options of every study."""

    world_models: tuple[str, ...] = ("dwm", "one_step")
    """World models to study, or 'all'. The one of --world-model takes its flags, others their presets."""
    model_updates: PositiveInt | None = None
    """Gradient steps of every world model; None is what the profile says."""
    run: str | None = None
    """Take the trained world models, the task, the data and all run options of this run folder, or address in a
    storage; nothing is trained."""
    output: Path = Path("runs/studies")
    """Folder for the study's folder, and for the world models that are trained for it."""
    study_seed: Annotated[int, Field(ge=0)] = 0
    """Seeds the study's own draws: windows, permutations, clones."""
    markdown: bool = False
    """Print the tables as Markdown."""


Options = TypeVar("Options", bound=StudyOptions)


@dataclass(frozen=True)
class Subject:
    """A trained world model and the run that it is the model of."""

    label: str
    config: RunConfig
    model: WorldModel


@dataclass(frozen=True)
class Lab:
    """What a study works with."""

    config: RunConfig
    """The run of the command line's flags."""
    profile: Profile
    task_data: TaskData
    device: torch.device
    store: RunFolder
    """Where world models are kept."""
    say: Callable[[str], None]

    def generator(self, seed: int) -> torch.Generator:
        """On the device of models and windows."""
        return torch.Generator(self.device).manual_seed(seed)

    def trained(self, config: RunConfig) -> WorldModel:
        """The world model of a run: found in the store, or trained now."""
        path = self.store.world_model(model_fingerprint(config, self.task_data.identity))
        options = model_options(config)
        if is_trained(path):
            self.say(f"world model {options.plugin_name()}: found in {path}")
            return world_model(config, self.task_data, self.store, self.device)
        self.say(f"world model {options.plugin_name()}: training, {options.num_updates} updates")
        with ticking(path, options.num_updates, self.say):
            return world_model(config, self.task_data, self.store, self.device)

    def windows(self, config: RunConfig, length: int) -> WindowSet:
        """Windows of `length` states over all data, labelled as the run's world model labels them."""
        discount, scale = config.training.discount, self.task_data.task.rtg_scale
        kind: RtgKind = getattr(config.world_model, "rtg_kind", "episode")
        return WindowSet(self.task_data.episodes, length, discount, scale, kind, self.device)

    def holdout(self, config: RunConfig, length: int) -> WindowSet:
        """Windows of `length` states that no world model was trained on, labelled likewise."""
        return window_sets(config, self.task_data, length, self.device)[1]


@dataclass(frozen=True)
class Study:
    """A question and how it is answered."""

    name: str
    help: str
    """One line."""
    options: type[StudyOptions]
    measure: Callable[[Lab, Any], Findings]


def studies() -> dict[str, Study]:
    """All studies, by name."""
    package = importlib.import_module("dwm_ray.studies")
    modules = (
        importlib.import_module(f"dwm_ray.studies.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    )
    return {module.STUDY.name: module.STUDY for module in modules if hasattr(module, "STUDY")}


def find_study(name: str) -> Study:
    """The study called `name`; ValueError with the nearest names where there is none."""
    known = studies()
    if name not in known:
        raise ValueError(f"unknown study {name!r}{suggest(name, list(known))}")
    return known[name]


def subjects(lab: Lab, options: StudyOptions) -> list[Subject]:
    """The world models to study, trained."""
    if options.run is not None:
        return _of_run(lab, RunFolder.open(options.run))
    configs = [with_updates(config, options) for config in configs_of(lab, options)]  # all names are known: train
    return [Subject(world_model_label(profiles.name_of(c.world_model)), c, lab.trained(c)) for c in configs]


def configs_of(lab: Lab, options: StudyOptions) -> list[RunConfig]:
    """The run of the command line once for each world model."""
    names = plugins("world_models") if options.world_models == ("all",) else dict.fromkeys(options.world_models)
    agent = profiles.name_of(lab.config.agent)
    return [profiles.with_method(lab.config, lab.profile, name, agent) for name in names]


def with_updates(config: RunConfig, options: StudyOptions) -> RunConfig:
    """A run whose world model trains as long as the study says."""
    if options.model_updates is None:
        return config
    return config.with_values({"world_model.num_updates": options.model_updates})


def used(lab: Lab, configs: list[RunConfig], options: StudyOptions) -> str:
    """What the study's world models are, for its summary."""
    models = [f"{world_model_label(profiles.name_of(c.world_model))} {model_options(c).num_updates}" for c in configs]
    return f"Updates of world models: {', '.join(models)}. Profile {lab.profile}; study seed {options.study_seed}."


def _of_run(lab: Lab, run: RunFolder) -> list[Subject]:
    """Every trained world model of a run folder; several of one kind are told apart by their fingerprints."""
    folders = [path for path in sorted((run.root / "world_models").glob("*")) if is_trained(path)]
    if not folders:
        raise ValueError(f"--run {run.root}: it has no trained world model")
    models = [load_model(path, lab.device) for path in folders]
    names = [model.config.plugin_name() for model in models]
    return [
        Subject(_label(name, names, path), _run_of(lab, model), model)
        for path, name, model in zip(folders, names, models, strict=True)
    ]


def _label(name: str, names: list[str], path: Path) -> str:
    return world_model_label(name) + (f" {path.name[:6]}" if names.count(name) > 1 else "")


def _run_of(lab: Lab, model: WorldModel) -> RunConfig:
    """The run's options with this very world model."""
    name = model.config.plugin_name()
    base = profiles.with_method(lab.config, lab.profile, name, profiles.name_of(lab.config.agent))
    return RunConfig.model_validate({**dict(base), "world_model": model.config})

"""Tables of the documentation, generated from the code, and the regions of Markdown files that hold them.

A region starts with a line `<!-- generated: NAME -->` and ends with a line `<!-- /generated -->`.
"""

import re
from collections.abc import Callable
from functools import partial
from inspect import getdoc, getmodule
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dwm_ray import registry
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.errors import lookup
from dwm_ray.experiment import profiles
from dwm_ray.experiment.comparison import ComparisonConfig
from dwm_ray.experiment.dimension import Dimension
from dwm_ray.experiment.names import agent_label, world_model_label
from dwm_ray.experiment.plan import SweepConfig, with_required
from dwm_ray.experiment.search_space import dimensions
from dwm_ray.local.compatibility import source_label
from dwm_ray.options import PluginConfig
from dwm_ray.report.table import NOTHING, markdown_table
from dwm_ray.tasks.table import LOCOMOTION, MINARI_TASKS, QUALITIES, no_termination, task_for
from dwm_ray.world_models.parts.build import model_fingerprint

START, END = re.compile(r"^<!-- generated: \S+ -->$", re.MULTILINE), "<!-- /generated -->"
REGION = re.compile(rf"^(<!-- generated: (\S+) -->\n)((?:(?!<!-- generated: ).)*?)^({END})$", re.DOTALL | re.MULTILINE)
ARXIV = re.compile(r"(?<![\d.])\d{4}\.\d{5}(?!\d)")
FLAGS = {"world_models": "world-model", "agents": "agent", "filters": "filter"}


def tables() -> dict[str, Callable[[], str]]:
    """Return the functions that render each table as Markdown, by the name of the table."""
    plugins = [(kind, name) for kind in FLAGS for name in registry.plugins(kind)]
    return {
        "methods": methods,
        "axes": axes,
        "tasks": tasks,
        **{kind.replace("_", "-"): partial(plugin_summaries, kind) for kind in FLAGS},
        "options.run": run_options,
        **{f"options.{name}": partial(group_options, name) for name in _groups(profiles.run_config("paper"))},
        "options.sweep": partial(command_options, SweepConfig),
        "options.compare": partial(command_options, ComparisonConfig),
        **{f"options.{FLAGS[kind]}.{name}": partial(plugin_options, kind, name) for kind, name in plugins},
    }


def render(name: str) -> str:
    """Return one table as Markdown; raise ValueError for an unknown name."""
    return lookup(tables(), name, "generated: unknown table")()


def stale(path: Path) -> list[str]:
    """Return the names of the regions of a Markdown file that differ from the code."""
    text = path.read_text(encoding="utf-8")
    regions = REGION.findall(text)
    if len(regions) != len(START.findall(text)):
        raise ValueError(f"{path}: a generated region has no end; expected a line {END!r}")
    return [name for _, name, body, _ in regions if body != _body(name)]


def update(path: Path) -> list[str]:
    """Rewrite the stale regions of a Markdown file and return their names."""
    names = stale(path)
    if names:
        text = path.read_text(encoding="utf-8")
        path.write_text(REGION.sub(lambda match: match[1] + _body(match[2]) + match[4], text), encoding="utf-8")
    return names


def _body(name: str) -> str:
    return f"\n{render(name)}\n\n"


def methods() -> str:
    """Return the batch sources of world models by agents; a dash marks a pair that cannot run."""
    agents = list(registry.plugins("agents"))
    rows = [
        [world_model_label(model), *(_source_label(model or "none", agent) for agent in agents)]
        for model in (None, *registry.plugins("world_models"))
    ]
    return markdown_table(["world model", *map(agent_label, agents)], rows)


def _source_label(world_model: str, agent: str) -> str:
    try:
        return source_label(profiles.run_config("paper", world_model, agent))
    except ValueError:
        return NOTHING


def axes() -> str:
    """Return the search axes with their values per profile and the shared parts that a new value regenerates."""
    rows = [
        [f"`{axis.name}`", axis.help, _words(axis.laptop), _words(axis.values), _regenerates(axis)]
        for axis in dimensions().values()
    ]
    return markdown_table(["axis", "sets", "`laptop`", "`paper`", "regenerates"], rows)


def _regenerates(axis: Dimension) -> str:
    base = with_required(profiles.run_config("paper", "dwm"), SweepConfig(dimensions=(axis.name,)), "paper")
    data, models, streams = DataIdentity("", 1.0, 1), set(), set()
    for value in axis.values:
        try:
            config = base.with_values({axis.path: value})
        except ValueError:
            continue  # not feasible with the other defaults, such as a horizon beyond the window
        models.add(model_fingerprint(config, data))
        streams.add(StreamSpec.of(config, model_fingerprint(config, data), data.num_pairs).fingerprint)
    return "world model, stream" if len(models) > 1 else "stream" if len(streams) > 1 else NOTHING


def tasks() -> str:
    """Return the named tasks with their environment, data, score and termination rule."""
    d4rl = [(f"`{name}-`{{{', '.join(QUALITIES)}}}", "D4RL", info.env_id) for name, info in LOCOMOTION.items()]
    minari = [(f"`{name}`", f"`{task.dataset}`", task.env_id) for name, task in MINARI_TASKS.items()]
    rows = []
    for name, source, env in d4rl + minari:
        spec = task_for(name, env, 0.0)
        scale = f"{spec.rtg_scale:g}" if source == "D4RL" else "best return"
        rule = "never" if spec.termination is no_termination else "rule"
        rows.append([name, env, source, spec.score_unit, scale, rule if spec.termination_known else "learned"])
    return markdown_table(["task", "environment", "data", "score", "RTG scale", "terminations"], rows)


def plugin_summaries(kind: str) -> str:
    """Return the plug-ins of one kind: flag, first paragraph of the module docstring, and papers."""
    rows = []
    for name, cls in registry.plugins(kind).items():
        doc = getdoc(getmodule(cls)) or ""
        summary = re.sub(r" ?\((?:[^()]*, )?arXiv [\d.]+[^()]*\)", "", " ".join(doc.split("\n\n")[0].split()))
        papers = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in dict.fromkeys(ARXIV.findall(doc)))
        rows.append([f"`--{FLAGS[kind]} {name}`", summary, papers or NOTHING])
    return markdown_table(["flag", "summary", "arXiv"], rows)


def run_options() -> str:
    """Return the options that belong to no group."""
    config = profiles.run_config("paper")
    names = [name for name, value in dict(config).items() if not isinstance(value, BaseModel | None)]
    return _options("", type(config), [config, profiles.run_config("laptop")], names)


def group_options(group: str) -> str:
    """Return the options of one group of a run, with their defaults per profile."""
    defaults = [getattr(profiles.run_config(profile), group) for profile in ("paper", "laptop")]
    return _options(f"{group}.", type(defaults[0]), defaults)


def plugin_options(kind: str, name: str) -> str:
    """Return the options of one plug-in, with their defaults per profile."""
    defaults = [profiles.plugin(kind, name, profile) for profile in ("paper", "laptop")]
    return _options(f"{FLAGS[kind]}.", type(defaults[0]), defaults)


def command_options(command: type[BaseModel]) -> str:
    """Return the options of a program that are not run options."""
    return _options("", command, [command()])


def _groups(config: BaseModel) -> list[str]:
    pairs = dict(config).items()
    return [name for name, value in pairs if isinstance(value, BaseModel) and not isinstance(value, PluginConfig)]


def _options(prefix: str, group: type[BaseModel], defaults: list[Any], names: list[str] | None = None) -> str:
    rows = [
        [
            f"`--{prefix}{name}`".replace("_", "-"),
            *(_words(getattr(values, name)) for values in defaults),
            " ".join((group.model_fields[name].description or NOTHING).split()),
        ]
        for name in names or group.model_fields
    ]
    return markdown_table(
        ["option", *(["`paper`", "`laptop`"] if len(defaults) == 2 else ["default"]), "meaning"], rows
    )


def _words(value: Any) -> str:
    """Return a default as it is typed on the command line."""
    values = value if isinstance(value, tuple) else (value,)
    return " ".join(f"`{word}`" for word in values) or NOTHING

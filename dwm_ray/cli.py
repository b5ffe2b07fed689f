"""Command lines out of configuration: flags for every option of the tree and of the chosen plug-ins.

`--world-model X --agent Y --filter Z` choose plug-ins and `--profile` the size of machine; their options' flags and
defaults follow from that choice, so they are read first and `--help` shows what the choice offers.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import tyro
from pydantic import BaseModel, Field, create_model

from dwm_ray import profiles, registry
from dwm_ray.config import RunConfig
from dwm_ray.profiles import Profile
from dwm_ray.search import reason

P = ParamSpec("P")
Command = TypeVar("Command", bound=BaseModel)


def main_guard(main: Callable[P, int | None]) -> Callable[P, int]:
    """Bad input becomes one line and exit code 2, Ctrl-C exit code 130; any other exception stays a traceback."""

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            return 130
        except ValueError as error:
            print(f"error: {reason(error)}", file=sys.stderr)
            return 2

    return guarded


CHOICES = {"world-model": "dwm", "agent": "td3_bc", "filter": "keep_all", "profile": "auto"}


def read_choices(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read the flags that decide which other flags there are; returns them and the rest of the line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag, default in CHOICES.items():
        parser.add_argument(f"--{flag}", default=default)
    try:
        return parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None


def parse(command: type[Command], argv: Sequence[str], description: str) -> tuple[Command, RunConfig, Profile]:
    """Parse a command line into the command's own options, the run's options, and the resolved profile's name."""
    chosen, rest = read_choices(argv)
    profile = profiles.resolve(chosen.profile)
    base = profiles.run_config(profile, chosen.world_model, chosen.agent, chosen.filter)
    options = create_model("Options", __base__=command, **_flags(base))
    parsed = tyro.cli(options, args=rest, description=_describe(description, chosen, profile))
    own = command(**{name: getattr(parsed, name) for name in command.model_fields})
    run = {name: getattr(parsed, name, None) for name in RunConfig.model_fields}
    return own, RunConfig.model_validate(run), profile


def _flags(base: RunConfig) -> dict[str, Any]:
    """A field for every option group of the run, typed by the plug-in that was chosen; none for what is absent."""
    return {
        name: (type(getattr(base, name)), Field(default=getattr(base, name), description=info.description))
        for name, info in RunConfig.model_fields.items()
        if getattr(base, name) is not None
    }


def _describe(description: str, chosen: argparse.Namespace, profile: str) -> str:
    """The head of `--help`: what the command does, and the choices that decide the options below."""
    known = {
        "world-model": ["none", *registry.plugins("world_models")],
        "agent": list(registry.plugins("agents")),
        "filter": list(registry.plugins("filters")),
        "profile": ["auto", *profiles.OPTIONS],
    }
    lines = [
        f"  --{flag} {{{','.join(names)}}} (now: {_current(chosen, flag, profile)})" for flag, names in known.items()
    ]
    return "\n".join([description, "", "Choices that decide the options below and their defaults:", *lines])


def _current(chosen: argparse.Namespace, flag: str, profile: str) -> str:
    value = getattr(chosen, flag.replace("-", "_"))
    return f"{value} = {profile}" if flag == "profile" and value == "auto" else value

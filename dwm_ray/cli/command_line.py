"""Command lines out of configuration: flags for every option of the tree and of the chosen plug-ins.

`--world-model X --agent Y --filter Z` choose plug-ins and `--profile` the size of machine; their options' flags and
defaults follow from that choice, so they are read first and `--help` shows what the choice offers.
"""

from __future__ import annotations

import argparse
import errno
import functools
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, field, make_dataclass
from typing import Annotated, Any, ParamSpec, TypeVar

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dwm_ray import registry
from dwm_ray.config import RunConfig
from dwm_ray.errors import reason
from dwm_ray.experiment import profiles
from dwm_ray.experiment.profiles import Profile
from dwm_ray.options import PluginConfig
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.storage import StorageFailed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Full, over quota, read-only, broken, gone."""
P = ParamSpec("P")
Command = TypeVar("Command", bound=BaseModel)


def main_guard(main: Callable[P, int | None]) -> Callable[P, int]:
    """Bad input becomes one line and exit code 2, a failed run or storage one line and 1, Ctrl-C 130, a reader of our
    output that went away (`| head`) 141; any other exception stays a traceback."""

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            try:
                return main(*args, **kwargs) or 0
            finally:
                sys.stdout.flush()  # here, for at the interpreter's end it could not be handled
        except BrokenPipeError:
            if not _output_is_closed():
                raise
            return 128 + signal.SIGPIPE
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
            return 130
        except (RunFailed, StorageFailed) as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
        except ValueError as error:
            print(f"error: {reason(error)}", file=sys.stderr)
            return 2
        except OSError as error:
            if error.errno not in STORAGE_ERRORS:
                raise
            print(f"failed: storage: {error}", file=sys.stderr)
            return 1

    return guarded


def _output_is_closed() -> bool:
    """Does nobody read our output any more? What is left of it goes nowhere then."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


SHORT = {
    "--data": "--data.file",
    "--env": "--data.env",
    "--download": "--execution.download",
    "--updates": "--training.num-updates",
}
"""Short names of flags that are often used."""
CHOICES = {"world-model": profiles.DEFAULT_WORLD_MODEL, "agent": "td3_bc", "filter": None, "profile": "auto"}


def read_choices(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read the flags that decide which other flags there are; returns them and the rest of the line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag, default in CHOICES.items():
        parser.add_argument(f"--{flag}", default=default)
    try:
        return parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None


def expanded(argv: Sequence[str]) -> list[str]:
    """The words of a command line with short names written out, also in `--short=value`."""
    parts = (word.partition("=") for word in argv)
    return [SHORT.get(head, head) + equals + value for head, equals, value in parts]


def given_paths(argv: Sequence[str]) -> frozenset[str]:
    """Dotted paths of the options that stand on a command line: what a user chose, even where it is the default."""
    flags = (word.partition("=")[0] for word in expanded(argv) if word.startswith("--"))
    return frozenset(flag.removeprefix("--").replace("-", "_") for flag in flags)


def parse(
    command: type[Command], argv: Sequence[str], description: str, gpus_elsewhere: Callable[[], bool] = lambda: False
) -> tuple[Command, RunConfig, Profile]:
    """Parse a command line into the command's own options, the run's options, and the resolved profile's name.
    `gpus_elsewhere` is asked where the profile is `auto` and this process sees no GPU.

    ValueError for values out of range; a flag that does not exist, or a value of the wrong type, ends the program with
    code 2 and says so.
    """
    chosen, rest = read_choices(expanded(argv))
    profile = profiles.resolve(chosen.profile, gpus_elsewhere)
    base = profiles.run_config(profile, chosen.world_model, chosen.agent, chosen.filter)
    own = _mirrored(command, command.model_construct())
    flags = make_dataclass("Options", [*own, *_mirrored(RunConfig, base)], kw_only=True)
    values = asdict(tyro.cli(flags, args=rest, description=_describe(description, chosen, profile)))
    run = {name: _named(base, name, values.pop(name, None)) for name in RunConfig.model_fields}
    return command.model_validate(values), RunConfig.model_validate(run), profile


def _mirrored(group: type[BaseModel], default: BaseModel) -> list[tuple[str, Any, Any]]:
    """Fields of a plain dataclass with a group's options, types, defaults and help. Values are checked only when the
    whole configuration is, so that an error names the option by its path. What is absent (no world model) has no flag.
    """
    return [
        _flag(name, info, getattr(default, name)) for name, info in group.model_fields.items() if _shown(default, name)
    ]


def _shown(default: BaseModel, name: str) -> bool:
    return name != "world_model" or getattr(default, name) is not None


def _flag(name: str, info: FieldInfo, default: Any) -> tuple[str, Any, Any]:
    if isinstance(default, BaseModel):
        kind = make_dataclass(type(default).__name__, _mirrored(type(default), default), kw_only=True)
        kind.__doc__ = type(default).__doc__
        return name, kind, field(default_factory=kind)
    return name, Annotated[info.annotation, tyro.conf.arg(help=info.description)], field(default=default)


def _named(base: RunConfig, name: str, value: Any) -> Any:
    """Options of a plug-in with its name, as `RunConfig` takes them."""
    chosen = getattr(base, name)
    return {"name": chosen.plugin_name(), **value} if isinstance(chosen, PluginConfig) else value


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
    lines.append(
        "    laptop: minutes on two cores; paper: the papers' sizes, for GPUs; auto: paper where there is a GPU, "
        "here or on the cluster of RAY_ADDRESS"
    )
    short = "Short for often used options: " + ", ".join(f"{name} = {flag}" for name, flag in SHORT.items())
    return "\n".join([description, "", "Choices that decide the options below and their defaults:", *lines, "", short])


def _current(chosen: argparse.Namespace, flag: str, profile: str) -> str:
    value = getattr(chosen, flag.replace("-", "_")) or "the method's own"
    return f"{value} = {profile}" if flag == "profile" and value == "auto" else value

"""Command lines of programs: flags for all options of a run and of the chosen plug-ins, and exit codes.

`--world-model X --agent Y --filter Z` select plug-ins, `--profile` selects default sizes, and `--task` changes some
defaults of plug-ins. These five flags are parsed first, because the other flags and their defaults depend on them.
`--help` shows the options of the selected plug-ins.
"""

import argparse
import errno
import functools
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dwm_ray import registry
from dwm_ray.cli import stopping
from dwm_ray.config import RunConfig
from dwm_ray.errors import reason
from dwm_ray.experiment import profiles
from dwm_ray.options import PluginConfig, Profile
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.storage import StorageFailed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Errors of storage that is full, over quota, read-only, defective or unavailable."""
P = ParamSpec("P")
Command = TypeVar("Command", bound=BaseModel)


def main_guard(main: Callable[P, int | None]) -> Callable[P, int]:
    """Turn the errors of a program into exit codes and one line on stderr.

    The exit code is 2 for invalid input, 1 for a failed run or storage, 130 for SIGINT (Ctrl-C), 143 for SIGTERM and
    141 for a closed output (`| head`). Any other exception propagates.
    """

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> int:
        stopping.set_running()
        _prepare_output()
        try:
            try:
                return main(*args, **kwargs) or 0
            finally:
                sys.stdout.flush()  # errors at interpreter exit cannot be handled
        except BaseException as error:
            code = stopping.exit_code(error)
            code = _exit_code(error) if code is None else code
            if code is None:
                raise
            return code
        finally:
            stopping.set_ending()

    return guarded


def _prepare_output() -> None:
    """Replace characters that the output cannot encode, and discard output that was closed before the start."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8"))  # /dev/null, see `stopping.catch_signals`
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _exit_code(error: BaseException) -> int | None:
    """Print the line of an expected error and return its exit code; return None for any other exception."""
    closed_for_rich = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    if closed_for_rich or isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE if closed_for_rich or _output_is_closed() else None
    if isinstance(error, RunFailed | StorageFailed):
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if isinstance(error, ValueError):
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        print(f"failed: storage: {error}", file=sys.stderr)
        return 1
    return None


def _output_is_closed() -> bool:
    """Return whether the reader has closed stdout; if so, discard the remaining output."""
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
"""Short names of frequent flags."""
OPTIONAL = tyro.conf.arg(help_behavior_hint="")
"""Marker of an option without a printed default: it is None or empty, and the help text states the effect."""
CHOICES = {
    "world-model": profiles.DEFAULT_WORLD_MODEL,
    "agent": "td3_bc",
    "filter": None,
    "profile": "auto",
    "task": profiles.DEFAULT_TASK,
}


def read_choices(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the flags that determine the other flags; return them and the remaining arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag, default in CHOICES.items():
        parser.add_argument(f"--{flag}", default=default)
    try:
        return parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None


def expanded(argv: Sequence[str]) -> list[str]:
    """Return command-line arguments with short names replaced, including those in `--short=value`."""
    split_args = (arg.partition("=") for arg in argv)
    return [SHORT.get(head, head) + equals + value for head, equals, value in split_args]


def explicit_paths(argv: Sequence[str]) -> frozenset[str]:
    """Return the dotted paths of the options on a command line, including those set to their default."""
    flags = (arg.partition("=")[0] for arg in expanded(argv) if arg.startswith("--"))
    return frozenset(flag.removeprefix("--").replace("-", "_") for flag in flags)


def parse(
    command: type[Command], argv: Sequence[str], description: str, gpus_elsewhere: Callable[[], bool] = lambda: False
) -> tuple[Command, RunConfig, Profile]:
    """Parse a command line into the options of the command, the options of the run and the profile.

    `gpus_elsewhere` is called if the profile is `auto` and this process has no GPU. The program exits with code 2 for
    an unknown flag or a value of the wrong type.

    Raises:
        ValueError: A value is out of range.
    """
    choices, remaining = read_choices(expanded(argv))
    profile = profiles.resolve(choices.profile, gpus_elsewhere)
    base = profiles.run_config(profile, choices.world_model, choices.agent, choices.filter, choices.task)
    command_flags = _flags(command, command.model_construct())
    flags = make_dataclass("Options", [*command_flags, *_flags(RunConfig, base)], kw_only=True)
    values = asdict(tyro.cli(flags, args=remaining, description=_describe(description, choices, profile)))
    run = {name: _named(base, name, values.pop(name, None)) for name in RunConfig.model_fields}
    run["data"]["file"] = absolute(run["data"]["file"])
    return command.model_validate(values), RunConfig.model_validate(run), profile


def absolute(file: str | None) -> str | None:
    """Return a path that is valid in the working folders of all processes, or None without a file."""
    try:
        return str(Path(file).expanduser().absolute()) if file else None
    except RuntimeError as error:  # no such user
        raise ValueError(f"--data.file {file}: {error}") from error


def _flags(group: type[BaseModel], default: BaseModel) -> list[tuple[str, Any, Any]]:
    """Return dataclass fields with the names, types, defaults and help of a group's options.

    Values are checked later with the whole configuration, so that errors name the path of the option. A model-free run
    has no flags for a world model.
    """
    names = [name for name in group.model_fields if name != "world_model" or getattr(default, name) is not None]
    return [_flag(name, group.model_fields[name], getattr(default, name)) for name in names]


def _flag(name: str, info: FieldInfo, default: Any) -> tuple[str, Any, Any]:
    if isinstance(default, BaseModel):
        kind = make_dataclass(type(default).__name__, _flags(type(default), default), kw_only=True)
        kind.__doc__ = type(default).__doc__
        return name, kind, field(default_factory=kind)
    arg = tyro.conf.arg(help=info.description, help_behavior_hint="" if default in (None, ()) else None)
    return name, Annotated[info.annotation, arg], field(default=default)


def _named(base: RunConfig, name: str, value: Any) -> Any:
    """Return the options of a group or plug-in as `RunConfig` expects them; plug-ins include their name."""
    default = getattr(base, name)
    return {"name": default.plugin_name(), **value} if isinstance(default, PluginConfig) else value


def _describe(description: str, choices: argparse.Namespace, profile: str) -> str:
    """Return the start of `--help`: the description, and the flags that determine the options below."""
    flags = {
        "world-model": ["none", *registry.plugins("world_models")],
        "agent": list(registry.plugins("agents")),
        "filter": list(registry.plugins("filters")),
        "profile": ["auto", *profiles.OPTIONS],
    }
    lines = [
        f"  --{flag} {{{','.join(names)}}} (now: {_current(choices, flag, profile)})" for flag, names in flags.items()
    ]
    lines.append(
        "    laptop: minutes on two cores; paper: the sizes of DWM, DyDiff and DAWM, for GPUs; published: like paper, "
        "with the updates and batch sizes of the published model-free scores; auto: paper if this machine or the "
        "cluster of RAY_ADDRESS has a GPU, otherwise laptop"
    )
    short = "Short names: " + ", ".join(f"{name} = {flag}" for name, flag in SHORT.items())
    return "\n".join([description, "", "Flags that determine the options below and their defaults:", *lines, "", short])


def _current(choices: argparse.Namespace, flag: str, profile: str) -> str:
    value = getattr(choices, flag.replace("-", "_")) or "the default of the method"
    return f"{value} = {profile}" if flag == "profile" and value == "auto" else value

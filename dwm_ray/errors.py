"""Texts of error messages."""

import difflib
import importlib
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import TypeVar

from pydantic import ValidationError

Found = TypeVar("Found")


def reason(error: Exception) -> str:
    """Return one line on a configuration error: the option's path, what is wrong, the given value."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    path = ".".join(str(key) for key in first["loc"])
    return f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}, not {first['input']!r}"


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split())


def last_line(text: str, default: str = "no message") -> str:
    """Return the last line of a program's output, or `default` if it is empty."""
    return (text.strip().splitlines() or [default])[-1]


def optional_module(name: str, option: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency; raise ValueError with the option that needs it if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise ValueError(
            f"{option}: the package {package} is not installed; expected `pip install 'dwm-ray[{extra}]'`"
        ) from error


def lookup(entries: Mapping[str, Found], name: str, what: str) -> Found:
    """Return `known[name]`; raise ValueError with similar names if there is none."""
    if name not in entries:
        raise ValueError(f"{what} {name!r}{suggest(name, list(entries))}")
    return entries[name]


def suggest(name: str, names: Collection[str]) -> str:
    """Return the end of an error message on a mistyped name: the most similar names, or all names."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else f"; known: {', '.join(names)}"

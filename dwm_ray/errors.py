"""Texts of error messages."""

import difflib
from collections.abc import Collection

from pydantic import ValidationError


def reason(error: Exception) -> str:
    """Return one line on a configuration error: the option's path, what is wrong, the given value."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}, not {first['input']!r}"


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split())


def suggest(name: str, known: Collection[str]) -> str:
    """Return the end of an error message on a mistyped name: the most similar names, or all names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else f"; known: {', '.join(known)}"

"""`Dimension`: one axis of a search. A file of `tune_spaces/` defines one as `DIMENSION`."""

from dataclasses import dataclass

Value = float | int | str


@dataclass(frozen=True)
class Dimension:
    """One axis of a search."""

    name: str
    path: str
    """Dotted path of the option."""
    values: tuple[Value, ...]
    """Values for the profile 'paper'."""
    laptop: tuple[Value, ...]
    """Values for the profile 'laptop'."""
    requires: tuple[str, str] | None = None
    """(group, plug-in) that replaces the run's plug-in if it lacks the option."""
    help: str = ""
    """Docstring of the file."""

    def for_profile(self, profile: str) -> tuple[Value, ...]:
        return self.laptop if profile == "laptop" else self.values

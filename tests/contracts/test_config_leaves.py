"""No dead options: every leaf of the configuration, of all plug-ins too, is read somewhere outside its own class.

The scan is textual: a leaf counts as read where some code reads an attribute of that name, or asks for it by
`getattr(x, "name")`. Two leaves of one name vouch for each other, which is the price of not running anything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from outside import all_plugins
from pydantic import BaseModel

import dwm_ray
from dwm_ray.config import RunConfig
from dwm_ray.options import PluginConfig
from dwm_ray.registry import BASES

SOURCES = Path(dwm_ray.__file__).parent


def groups() -> Iterator[type[BaseModel]]:
    """Every class of options that a run can hold."""
    yield RunConfig
    for info in RunConfig.model_fields.values():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield info.annotation
    for kind in BASES:
        yield from (plugin.Config for plugin in all_plugins(kind).values())  # type: ignore[attr-defined]


def leaves() -> list[tuple[str, str]]:
    """(class that declares it, leaf) of every option."""
    found = {
        (next(base for base in reversed(cls.__mro__) if name in getattr(base, "model_fields", {})).__name__, name)
        for cls in groups()
        if cls is not PluginConfig
        for name in cls.model_fields
    }
    return sorted(found)


def names_read(tree: ast.AST) -> Iterator[str]:
    """Attributes that are read in a piece of code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            yield from (arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant))


def reads(sources: list[str]) -> list[tuple[str, set[str]]]:
    """(class or '' at module level, names read in it), so that a class does not vouch for its own options."""
    found = []
    for source in sources:
        for node in ast.parse(source).body:
            found.append((node.name if isinstance(node, ast.ClassDef) else "", set(names_read(node))))
    return found


def is_read(owner: str, leaf: str, found: list[tuple[str, set[str]]]) -> bool:
    return any(leaf in names for where, names in found if where != owner)


@pytest.fixture(scope="module")
def program() -> list[tuple[str, set[str]]]:
    return reads([path.read_text() for path in sorted(SOURCES.rglob("*.py"))])


@pytest.mark.parametrize(("owner", "leaf"), leaves())
def test_every_option_is_read(owner: str, leaf: str, program: list[tuple[str, set[str]]]) -> None:
    assert is_read(owner, leaf, program), f"{owner}.{leaf} is an option that no code reads"


def test_all_groups_and_plug_ins_are_looked_at() -> None:
    owners = {owner for owner, _ in leaves()}
    assert {"RunOptions", "TrainingConfig", "ClusterConfig", "WorldModelConfig", "DWMConfig", "TD3BCConfig"} <= owners


DEAD = """
class Options(Frozen):
    alive: int = 1
    asked: int = 1
    dead: int = 2
    own: int = 3

    def _check(self):
        return self.own > 0


def use(options):
    options.dead = 3
    dead = "dead"
    return options.alive + getattr(options, "asked")
"""


@pytest.mark.parametrize(("leaf", "read"), [("alive", True), ("asked", True), ("dead", False), ("own", False)])
def test_the_scan_finds_what_nobody_reads(leaf: str, read: bool) -> None:
    assert is_read("Options", leaf, reads([DEAD])) is read

"""Every option of a run, of plug-ins too, is read by some code outside its own class.

The scan is textual: an option is read if some code reads an attribute of its name, or `getattr(x, "name")`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import dwm_ray
from dwm_ray.config import RunConfig
from dwm_ray.registry import BASES, plugins


def groups() -> Iterator[type[BaseModel]]:
    """Yield every class of options that a run can hold."""
    yield RunConfig
    for info in RunConfig.model_fields.values():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield info.annotation
    for kind in BASES:
        yield from (plugin.Config for plugin in plugins(kind).values())  # type: ignore[attr-defined]


def leaves() -> set[tuple[str, str]]:
    """Return (class that declares it, name) of every option."""
    return {
        (next(base for base in reversed(cls.__mro__) if name in getattr(base, "model_fields", {})).__name__, name)
        for cls in groups()
        for name in cls.model_fields
    }


def reads(source: str) -> Iterator[tuple[str, str]]:
    """Yield (class or '' at module level, name) of every attribute that a source reads."""
    for part in ast.parse(source).body:
        owner = part.name if isinstance(part, ast.ClassDef) else ""
        for node in ast.walk(part):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield owner, node.attr
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
                yield from ((owner, arg.value) for arg in node.args[1:2] if isinstance(arg, ast.Constant))


@pytest.fixture(scope="module")
def program() -> set[tuple[str, str]]:
    return {read for path in Path(dwm_ray.__file__).parent.rglob("*.py") for read in reads(path.read_text())}


@pytest.mark.parametrize(("owner", "leaf"), sorted(leaves()))
def test_every_option_is_read(owner: str, leaf: str, program: set[tuple[str, str]]) -> None:
    assert any(name == leaf and where != owner for where, name in program), f"{owner}.{leaf}: no code reads it"

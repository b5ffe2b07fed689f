"""The README says what is true: its commands parse, its tables match the code, its example works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from programs import load_program

from dwm_ray import registry
from dwm_ray.cli.command_line import parse
from dwm_ray.experiment.search_space import dimensions
from dwm_ray.filters.base import Filter
from dwm_ray.types import Segments

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
DOCS = [path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, text) of its fenced blocks."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


BLOCKS = blocks(TEXT)
COMMANDS = [
    line
    for language, block in [found for text in (TEXT, *DOCS) for found in blocks(text)]
    if language == "bash"
    for line in block.splitlines()
    if re.match(r"python pipelines/", line)
]


def table(first_cell: str) -> list[list[str]]:
    """Rows below the header whose first cell is `first_cell`, as cells without backticks."""
    lines = TEXT[TEXT.index(f"| {first_cell} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_first_two_blocks_are_one_line_each() -> None:
    (_, run), (_, test) = BLOCKS[:2]
    assert run.count("\n") == test.count("\n") == 1
    assert ".venv/bin/python pipelines/sweep.py --task halfcheetah-medium-replay" in run
    assert ".venv/bin/python -m pytest" in test


@pytest.mark.parametrize("code", [0, 7])
def test_ci_runs_the_second_block_then_the_checks_and_ends_with_its_code(tmp_path: Path, code: int) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / ".ci" / "check").write_text("#!/bin/sh\ntouch checked\n")
    blocks = f"```bash\ntouch first\n```\ntext\n```bash\ntouch second && exit {code}\n```\n```\ntouch third\n```\n"
    (tmp_path / "README.md").write_text(blocks)
    assert subprocess.run([tmp_path / ".ci" / "run"], check=False, capture_output=True).returncode == code
    checked = {"checked"} if code == 0 else set()
    assert {path.name for path in tmp_path.iterdir()} == {".ci", "README.md", "second", *checked}


def test_ci_says_what_is_wrong_with_a_readme_without_commands(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "README.md").write_text("nothing\n")
    result = subprocess.run([tmp_path / ".ci" / "run"], check=False, capture_output=True, text=True)
    assert (result.returncode, "README.md: the second fenced block" in result.stderr) == (1, True)


@pytest.mark.parametrize("line", [line for line in COMMANDS if re.search(r"pipelines/(train|sweep|compare)\.py", line)])
def test_commands_parse(line: str) -> None:
    words = shlex.split(line, comments=True)
    own, config, _ = parse(load_program(words[1]).Command, words[2:], "")
    assert own.output == Path("runs") or "--output" in words
    assert config.task


@pytest.mark.parametrize(
    "path", [f"pipelines/{name}.py" for name in ("collect", "evaluate", "report", "methods", "watch")]
)
def test_flags_of_the_other_programs_exist(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in COMMANDS if path in line]
    used = {word for line in lines for word in shlex.split(line, comments=True) if word.startswith("--")}
    monkeypatch.setattr(sys, "argv", [path, "--help"])
    with pytest.raises(SystemExit):
        load_program(path).main()
    shown = capsys.readouterr().out
    assert lines
    assert not [flag for flag in used if flag not in shown]


def test_axes_are_those_of_the_code() -> None:
    known, rows = dimensions(), table("axis")
    assert len(rows) > 10
    for name, _, small, paper, _ in rows:
        assert small.split() == [str(value) for value in known[name].small], name
        assert paper.split() == [str(value) for value in known[name].values], name


def test_named_plugins_exist() -> None:
    papers = TEXT.split("## The papers\n")[1].split("\n## ")[0]
    names = set(re.findall(r"`(?:--[\w-]+ )?(\w+)`", papers))
    known = {name for kind in registry.BASES for name in registry.plugins(kind)}
    assert {"dwm", "td3_bc"} <= names <= known


def test_the_example_filter_works(monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(block for language, block in BLOCKS if language == "python")
    module = ModuleType("dwm_ray.filters.first")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source, "README.md", "exec"), module.__dict__)
    chosen = module.First(module.FirstConfig(count=3))
    segments = Segments(*(torch.zeros(5, 2) for _ in range(5)), torch.zeros(5))
    assert isinstance(chosen, Filter)
    assert chosen.select(segments, torch.Generator()).tolist() == [0, 1, 2]
    assert module.FirstConfig.plugin_name() == "first"


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith(("http", "#"))]
    assert len(links) >= 3
    assert not [link for link in links if not (ROOT / link).exists()]

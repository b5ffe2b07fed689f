"""README and docs/: commands parse, options, modules and plug-ins exist, examples run, generated tables are current.

Links between pages and anchors are checked by `mkdocs build --strict` (.ci/check).
"""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from programs import load_program

import dwm_ray
from dwm_ray import registry
from dwm_ray.cli.command_line import parse
from dwm_ray.config import RunConfig
from dwm_ray.filters.base import Filter
from dwm_ray.report.doc_tables import REGION, stale, tables
from dwm_ray.types import Segments

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
CURRENT = {name: text for name, text in PAGES.items() if name != "docs/migration.md"}
"""Pages without names of the version before."""


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks in a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


COMMANDS = {
    found[0]: (found[1], shlex.split(found[2], comments=True))
    for text in PAGES.values()
    for block in blocks(text, "bash")
    for line in block.splitlines()
    if (found := re.search(r"python \S*pipelines/(\w+)\.py(.*)", line))
}


BAD_INPUT = "python pipelines/train.py --synthesis.horizon 20"


def lines_of(*programs: str) -> list[str]:
    """Return the documented commands of programs."""
    return [line for line, (name, _) in COMMANDS.items() if name in programs]


@pytest.mark.parametrize(
    ("page", "line"),
    [("configuration", BAD_INPUT), ("data", "python pipelines/train.py --task my-robot --data robot.hdf5")],
)
def test_documented_errors_are_those_of_the_program(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("robot.hdf5", "w") as file:
        file.update({"observations": np.zeros((9, 17)), "actions": np.zeros((9, 6)), "terminals": np.zeros(9)})
        file.attrs["env_id"], file["timeouts"] = "HalfCheetah-v5", np.zeros(9)
    assert load_program("pipelines/train.py").main(COMMANDS[line][1]) == 2
    error = capsys.readouterr().err.replace(f"{tmp_path}/", "")  # files are named by their absolute path
    assert f"```bash\n{line}\n```\n\n```\n{error}```\n" in PAGES[f"docs/{page}.md"]


@pytest.mark.parametrize("line", [line for line in lines_of("train", "sweep", "compare") if line != BAD_INPUT])
def test_run_commands_parse(line: str) -> None:
    name, args = COMMANDS[line]
    args = [word for word in args if word != "--help"]
    own, config, _ = parse(load_program(f"pipelines/{name}.py").Command, args, "")
    assert own.output == Path("runs") or "--output" in args
    assert config.task


def test_sweep_options_of_benchmarks_parse() -> None:
    option = "--sweep-options="
    result = [word.removeprefix(option) for _, args in COMMANDS.values() for word in args if word.startswith(option)]
    assert result
    for text in result:
        parse(load_program("pipelines/sweep.py").Command, shlex.split(text), "")


@pytest.mark.parametrize("name", ["check_data", "collect", "evaluate", "export", "report", "methods", "watch"])
def test_flags_of_the_other_programs_exist(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [word for line in lines_of(name) for word in COMMANDS[line][1]]
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit):
        load_program(f"pipelines/{name}.py").main()
    shown = capsys.readouterr().out
    assert lines_of(name)
    assert not [word for word in args if word.startswith("--") and word not in shown]


@pytest.mark.parametrize("line", lines_of("study"))
def test_study_commands_parse(line: str) -> None:
    study, *args = COMMANDS[line][1]
    parse(load_program("pipelines/study.py").find_study(study).options, args, "")


def options_of(group: str) -> set[str]:
    """Return the names of a group's options; of a plug-in group, those of every plug-in."""
    kind = f"{group}s"
    if kind in registry.BASES:
        return {name for cls in registry.plugins(kind).values() for name in cls.Config.model_fields}
    return set(type(RunConfig.model_fields[group].default).model_fields)


def test_named_options_exist() -> None:
    groups = "|".join(name for name in RunConfig.model_fields if name not in ("task", "seed")).replace("_", "-")
    named = {
        (group.replace("-", "_"), option.replace("-", "_"))
        for text in CURRENT.values()
        for group, option in re.findall(rf"--({groups})\.(?:no-)?([a-z-]+)", text)
    }
    assert len(named) > 20
    assert [option for option in named if option[1] not in options_of(option[0])] == [
        ("filter", "count")
    ]  # the example's


def test_named_files_exist() -> None:
    text = "\n".join(CURRENT.values()).replace("`dwm_ray/filters/first.py`", "").replace("`dwm_ray/pipelines/", "`")
    named = set(re.findall(r"(?<![\w./-])((?:dwm_ray|tests|pipelines|tune_spaces)/[\w./]*\w)", text))
    assert "dwm_ray/diffusion/denoisers.py" in named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_named_modules_exist() -> None:
    named = {name for text in CURRENT.values() for name in re.findall(r"(?<![\w./-])dwm_ray((?:\.\w+)+)", text)}
    paths = {name: ROOT / "dwm_ray" / name[1:].replace(".", "/") for name in named - {".json"}}  # ops/grafana/
    missing = [name for name, path in paths.items() if not (path.exists() or path.with_suffix(".py").exists())]
    assert not [name for name in missing if not hasattr(dwm_ray, name[1:])]


def test_plugins_named_in_the_table_of_papers_exist() -> None:
    papers = PAGES["docs/methods.md"].split("## Papers\n")[1]
    names = set(re.findall(r"`(?:--[\w-]+ )?(\w+)`", papers))
    known = {name for kind in registry.BASES for name in registry.plugins(kind)}
    assert {"dwm", "td3_bc"} <= names <= known


def test_generated_tables_are_current_and_complete() -> None:
    assert {page: stale(ROOT / page) for page in PAGES} == {page: [] for page in PAGES}
    shown = {name for text in PAGES.values() for _, name, _, _ in REGION.findall(text)}
    assert shown == set(tables())


def test_the_example_filter_works(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = blocks(PAGES["docs/extending.md"], "python")
    module = ModuleType("dwm_ray.filters.first")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source, "docs/extending.md", "exec"), module.__dict__)
    chosen = module.First(module.FirstConfig(count=3))
    segments = Segments(*(torch.zeros(5, 2) for _ in range(5)), torch.zeros(5))
    assert isinstance(chosen, Filter)
    assert chosen.select(segments, torch.Generator()).tolist() == [0, 1, 2]
    assert module.FirstConfig.plugin_name() == "first"


@pytest.mark.timeout(900)  # trains a world model and an agent
def test_the_examples_of_the_python_api_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for source in blocks(PAGES["docs/api.md"], "python"):
        exec(compile(source, "docs/api.md", "exec"), names)
    assert set(dwm_ray.__all__) == set(re.findall(r"^\| `dwm_ray\.(\w+)\(", PAGES["docs/api.md"], re.MULTILINE))
    assert names["actions"].shape == (32, 6)
    assert names["value"].shape == (32,)


@pytest.mark.parametrize("kind", list(registry.BASES))
def test_extending_lists_what_a_plugin_must_define(kind: str) -> None:
    base = registry.BASES[kind]
    row = next(line for line in PAGES["docs/extending.md"].splitlines() if f"| `{base}` |" in line)
    cls = getattr(importlib.import_module(f"dwm_ray.{kind}.base"), base)
    abstract = {name for name in dir(cls) if getattr(getattr(cls, name), "__isabstractmethod__", False)}
    assert abstract == set(re.findall(r"`(\w+)`", row)) - {base, "follows_policy"}


def test_contributing_lists_the_packages() -> None:
    tree = PAGES["docs/contributing.md"].split("dwm_ray/\n")[1].split("\ntests/")[0]
    listed = set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    assert listed == {path.parent.name for path in (ROOT / "dwm_ray").glob("*/__init__.py")}


def test_images_are_small() -> None:
    assert all(path.stat().st_size < 200_000 for path in (ROOT / "docs" / "images").iterdir())


TEXT = (ROOT / "README.md").read_text()


def test_readme_is_short() -> None:
    assert len(TEXT.splitlines()) <= 200


def test_the_first_two_blocks_are_one_line_each() -> None:
    run, test = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[:2]
    assert run.count("\n") == test.count("\n") == 1
    assert run.endswith(".venv/bin/python pipelines/sweep.py --task halfcheetah-medium-replay\n")
    assert "-e '.[test]'" in test
    assert test.endswith(".venv/bin/python -m pytest -n 2\n")


@pytest.mark.parametrize("code", [0, 7])
def test_ci_runs_the_second_block_then_the_checks_and_returns_its_code(tmp_path: Path, code: int) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / ".ci" / "check").write_text("#!/bin/sh\ntouch checked\n")
    blocks = f"```bash\ntouch first\n```\ntext\n```bash\ntouch second && exit {code}\n```\n```\ntouch third\n```\n"
    (tmp_path / "README.md").write_text(blocks)
    assert subprocess.run([tmp_path / ".ci" / "run"], check=False, capture_output=True).returncode == code
    checked = {"checked"} if code == 0 else set()
    assert {path.name for path in tmp_path.iterdir()} == {".ci", "README.md", "second", *checked}


def test_ci_reports_a_readme_without_commands(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "README.md").write_text("nothing\n")
    result = subprocess.run([tmp_path / ".ci" / "run"], check=False, capture_output=True, text=True)
    assert (result.returncode, "README.md: the second fenced block" in result.stderr) == (1, True)


def test_linked_files_and_images_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith(("http", "#"))]
    assert "docs/images/report.png" in links
    assert not [link for link in links if not (ROOT / link).exists()]

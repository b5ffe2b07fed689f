"""README: its length, its first two commands, which CI relies on, and the links."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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

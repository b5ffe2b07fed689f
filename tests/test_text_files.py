"""Text files are UTF-8 in every locale: a program that is started with LC_ALL=C writes the same files."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = {"open", "fdopen", "read_text", "write_text"}
NO_TEXT = ("os.open", "RunFolder.open")


def without_encoding(source: str) -> list[str]:
    """Calls that open a text file in the encoding of the locale."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call) for call in calls if is_text(call) and "encoding" not in {key.arg for key in call.keywords}
    ]


def is_text(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    modes = [part.value for word in call.args for part in ast.walk(word) if isinstance(part, ast.Constant)]
    is_binary = any(isinstance(mode, str) and mode.strip("rwxab+") == "" and "b" in mode for mode in modes)
    return name.rpartition(".")[2] in TEXT and name not in NO_TEXT and not is_binary


def test_every_text_file_is_opened_with_an_encoding() -> None:
    files = [path for folder in ("dwm_ray", "pipelines", "tune_spaces") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    result = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in files}
    assert {path: calls for path, calls in result.items() if calls} == {}

"""JSON-lines files of run folders."""

import json
from pathlib import Path
from typing import Any


def write_rows(path: Path, *rows: dict[str, Any]) -> None:
    """Write a log, and its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

"""One file over HTTP: resumed where it stopped, complete or absent."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Progress = Callable[[int, int | None], None]
"""(bytes on disk, bytes in all where the server says) -> None; called after every block."""

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0


def fetch(url: str, target: Path, progress: Progress) -> Path:
    """Download to `target` through `target.part`, which a later call continues.

    ValueError where the address cannot be reached, the disk is too small, or the file came short.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open(url, part.stat().st_size if part.exists() else 0) as response:
            total = _receive(url, response, part, progress)
        _check_size(url, part, total)
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise ValueError(f"{url}: download to {target} failed: {error}; run again to continue it") from error
    return target


def _open(url: str, have: int) -> Any:
    """The response, asked to start after `have` bytes; from the start where the server rejects that range."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return _open(url, 0)


def _receive(url: str, response: Any, part: Path, progress: Progress) -> int | None:
    """Append to (or start) the part; the size of the whole file where the server says it."""
    resumed = response.status == http.client.PARTIAL_CONTENT
    done = part.stat().st_size if resumed else 0
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    _check_space(url, part, (total or 0) - done)
    with part.open("ab" if resumed else "wb") as out:
        while block := response.read(BLOCK_BYTES):
            out.write(block)
            done += len(block)
            progress(done, total)
    return total


def _check_space(url: str, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise ValueError(f"{part.parent}: {needed / 1e6:.0f} MB are needed for {url}, {free / 1e6:.0f} MB are free")


def _check_size(url: str, part: Path, total: int | None) -> None:
    size = part.stat().st_size
    if total is not None and size != total:
        raise ValueError(f"{url}: {size} of {total} bytes arrived; run again to continue the download")

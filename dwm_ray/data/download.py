"""Download one file over HTTP; interrupted downloads are resumed, and the target is never incomplete."""

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

OnProgress = Callable[[int, int | None], None]
"""(bytes on disk, total bytes if known) -> None; called after every block."""

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0


def fetch(url: str, target: Path, on_progress: OnProgress) -> Path:
    """Download to `target` via `target.part`, which a later call continues; raise ValueError on failure."""
    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open(url, partial.stat().st_size if partial.exists() else 0) as response:
            total = _receive(url, response, partial, on_progress)
        size = partial.stat().st_size
        if total is not None and size != total:
            raise ValueError(f"{url}: {size} bytes arrived; expected {total}; run again to continue the download")
        partial.replace(target)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise ValueError(f"{url}: download to {target} failed: {error}; run again to continue it") from error
    return target


def _open(url: str, offset: int) -> Any:
    """Return the response starting at byte `offset`, or at byte 0 if the server rejects that range."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if not offset or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return _open(url, 0)


def _receive(url: str, response: Any, partial: Path, on_progress: OnProgress) -> int | None:
    """Write or continue `partial`; return the total size of the file if the server reports it."""
    resumed = response.status == http.client.PARTIAL_CONTENT
    done = partial.stat().st_size if resumed else 0
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    needed, free = (total or 0) - done, shutil.disk_usage(partial.parent).free
    if free < needed:
        raise ValueError(
            f"{partial.parent}: {free / 1e6:.0f} MB are free; expected the {needed / 1e6:.0f} MB needed for {url}"
        )
    with partial.open("ab" if resumed else "wb") as out:
        while block := response.read(BLOCK_BYTES):
            out.write(block)
            done += len(block)
            on_progress(done, total)
    return total

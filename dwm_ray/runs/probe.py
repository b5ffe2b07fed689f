"""Check whether processes on several nodes use the same folder or storage.

The driver writes a file with a random name. Each node must find it at the same address, which detects a different
folder of the same name, and then write a file there.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dwm_ray.runs.storage import Storage, StorageFailed


@contextmanager
def folder_probe(output: Path) -> Iterator[str]:
    """Write a probe file to a folder; remove everything that was created. See `probe_file`."""
    missing = [path for path in (output, *output.parents) if not path.exists()]
    with probe_file(Storage.folder(output), f"--output {output}") as probe:
        yield probe
    with suppress(OSError):  # not empty: another program uses the folder
        for path in missing:
            path.rmdir()


@contextmanager
def probe_file(storage: Storage, option: str) -> Iterator[str]:
    """Yield the address of a probe file and delete it; raise ValueError if it cannot be written."""
    name = f".check-{secrets.token_hex(16)}"
    try:
        storage.write(name, b"")
    except StorageFailed as error:
        raise ValueError(f"{option}: {error}") from error
    try:
        yield storage.child(name).address
    finally:
        storage.delete(name)


def find_probe(probe: str) -> tuple[str | None, float | None]:
    """Return (reason why this process cannot use the driver's storage, seconds of a round trip)."""
    file = Storage.parse(probe)
    storage = file.parent
    if storage.scheme == "file" and not Path(storage.path).is_dir():
        return f"{storage} does not exist here", None
    try:
        if not storage.exists(file.name):
            return f"{storage} is not the driver's: the driver's file is missing", None
        return None, storage.probe()
    except StorageFailed as error:
        return str(error), None

"""Test whether a run's folder or storage is the same one on every node, and writable.

The driver writes a probe with a random token there. A process on another node must read the token at the same place
and write next to it, so a different folder of the same name is detected.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dwm_ray.runs.storage import Storage, StorageFailed

TOKEN_FILE = "token"


@contextmanager
def folder_probe(output: Path) -> Iterator[tuple[str, str]]:
    """Yield (folder below `output` that holds the token, token); remove everything that was created.

    Raises:
        ValueError: `output` cannot be written.
    """
    missing = [path for path in (output, *output.parents) if not path.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = Path(tempfile.mkdtemp(prefix=".check-", dir=output)).resolve()
    except OSError as error:
        raise ValueError(f"--output {output}: cannot write there ({error.strerror})") from error
    probe.chmod(0o777)  # processes of other nodes may have another user, as in a run
    token = secrets.token_hex(16)
    (probe / TOKEN_FILE).write_text(token)
    try:
        yield str(probe), token
    finally:
        shutil.rmtree(probe)
        with suppress(OSError):  # not empty: another program uses the folder
            for path in missing:
                path.rmdir()


@contextmanager
def storage_probe(address: str) -> Iterator[tuple[str, str]]:
    """Yield (address of a file in the storage that holds the token, token); delete the file.

    Raises:
        ValueError: The storage cannot be written.
    """
    name, token = f".check-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        storage = Storage.parse(address)
        storage.write(name, token.encode())
    except StorageFailed as error:
        raise ValueError(f"--storage: {error}") from error
    try:
        yield storage.child(name).address, token
    finally:
        storage.delete(name)


def read_probe(probe: str, token: str) -> tuple[str | None, float | None]:
    """Return (reason why this process cannot use the driver's folder or storage, seconds of a storage round trip)."""
    if "://" not in probe:
        return folder_problem(Path(probe), token), None
    place = Storage.parse(probe)
    other = f"{place.parent} is not the driver's storage"
    try:
        if place.parent.read(place.name).decode() != token:
            return other, None
        return None, place.parent.probe()
    except FileNotFoundError:
        return f"{other}: the driver's file is not there", None
    except StorageFailed as error:
        return str(error), None


def folder_problem(probe: Path, token: str) -> str | None:
    """Return why this process cannot share the driver's folder, or None.

    Missing folders, empty folders of the same name, unmounted and read-only shares have different messages.
    """
    if not probe.parent.is_dir():
        return f"{probe.parent} does not exist here"
    other = f"{probe.parent} is not the driver's folder"
    try:
        if (probe / TOKEN_FILE).read_text() != token:
            return other
        with tempfile.NamedTemporaryFile(dir=probe) as file:
            file.write(token.encode())
    except FileNotFoundError:
        return f"{other}: the driver's file is not there"
    except OSError as error:
        return f"{probe.parent}: {error.strerror}"
    return None

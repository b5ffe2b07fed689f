"""Folder in S3, in Google Cloud Storage or at a path, with atomic writes.

Addresses are `s3://BUCKET/FOLDER`, `gs://BUCKET/FOLDER` or a path; pyarrow's file systems open them. AWS_ENDPOINT_URL
or `?endpoint_override=HOST:PORT&scheme=http` after the address select another S3 server. Credentials come from the
environment or the role of the machine, never from the address. An object is sent in one piece, because closing an
interrupted stream would complete the object. A failed request is retried a few times with a warning; then it raises
`StorageFailed`.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from dwm_ray.errors import one_line
from dwm_ray.runs.files import atomic_path
from dwm_ray.runs.transfer_stats import TRANSFERS

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

SCHEMES = {"s3": ("endpoint_override", "scheme", "region"), "gs": ("endpoint_override", "scheme"), "file": ()}
"""Options after '?' for each kind of address."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Pauses between the attempts of a request."""
TRIES = len(PAUSES_S) + 1
CONNECT_S, REQUEST_S = 5.0, 30.0
SMALL_BYTES = 5_000_000
"""Files up to this size are sent in one request on closing. Larger uploads start when the file is opened, because Arrow
leaves an empty file if the start fails on closing."""
FINAL = (
    "ACCESS_DENIED",
    "AccessDenied",
    "NO_SUCH_BUCKET",
    "NoSuchBucket",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
)
"""Substrings of error messages that are not retried."""


class StorageFailed(Exception):  # noqa: N818 - it names what happened
    """Failure of a request to storage; the message names both on one line."""


@dataclass(frozen=True)
class Entry:
    """File in remote storage."""

    name: str
    size: int
    changed: float
    """Time of the last change in seconds, according to the storage's clock."""


@dataclass(frozen=True)
class Storage:
    """Folder whose file names are relative, separated by '/', and cannot point outside it."""

    scheme: str
    path: str
    """BUCKET/FOLDER, or an absolute path."""
    query: str = ""

    @staticmethod
    def parse(address: str) -> Storage:
        """Parse an address; raise ValueError, without repeating credentials, if it is invalid."""
        if "://" not in address:
            return Storage.folder(Path(address))
        url = urlsplit(address)
        if url.scheme not in SCHEMES:
            raise ValueError(f"--storage {url.scheme}://...: expected s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a path")
        _reject_credentials(url.scheme, url.netloc, url.query)
        if url.scheme == "file":
            return Storage.folder(Path(unquote(url.path)))
        path = f"{url.netloc}{url.path}".strip("/")
        if not url.netloc or url.fragment or (url.path.strip("/") and not _is_safe(url.path.strip("/"))):
            raise ValueError(
                f"--storage {address}: expected a bucket and a plain folder, as in {url.scheme}://BUCKET/runs"
            )
        return Storage(url.scheme, path, url.query)

    @staticmethod
    def folder(path: Path) -> Storage:
        """Return the storage at a local path."""
        return Storage("file", str(path.resolve()))

    def __str__(self) -> str:
        return self.path if self.scheme == "file" else f"{self.scheme}://{self.path}"

    @property
    def address(self) -> str:
        """Address that `parse` turns into this storage on any machine."""
        start = Path(self.path).as_uri() if self.scheme == "file" else str(self)
        return f"{start}?{self.query}" if self.query else start

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> Storage:
        return replace(self, path=str(PurePosixPath(self.path).parent))

    def child(self, name: str) -> Storage:
        return replace(self, path=self._at(name))

    def filesystem(self) -> fs.FileSystem:
        """Return pyarrow's file system, with its own retries, for libraries that accept one together with `path`."""
        return self._filesystem(sdk_tries=3)

    def write(self, name: str, content: bytes | pa.Buffer, tries: int = TRIES) -> None:
        """Write a file, replacing an existing one."""
        self._retry(f"write {name}", lambda: self._write(self._at(name), content), tries)
        TRANSFERS.add(written_bytes=len(content))

    def read(self, name: str) -> bytes:
        """Read a file; raise FileNotFoundError if it does not exist."""
        content = self._retry(f"read {name}", lambda: self._read(self._at(name)))
        TRANSFERS.add(read_bytes=len(content))
        return content

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        info = self._retry(f"look for {name}", lambda: self._fs.get_file_info(self._at(name)))
        return bool(info.type == fs.FileType.File)

    def files(self, below: str = "") -> list[Entry]:
        """Return all files, or those below a folder, sorted by name."""
        base = self._at(below) if below else self.path
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        infos = self._retry(f"list {below or 'its files'}", lambda: self._fs.get_file_info(selector))
        entries = [self._entry(info) for info in infos if info.type == fs.FileType.File]
        return sorted(entries, key=lambda entry: entry.name)

    def delete(self, name: str) -> None:
        self._retry(f"delete {name}", lambda: self._fs.delete_file(self._at(name)))

    def probe(self) -> float:
        """Write, read and delete a small file; return the duration in seconds."""
        start, name, token = time.perf_counter(), f".check-{secrets.token_hex(8)}", secrets.token_bytes(16)
        self.write(name, token)
        if self.read(name) != token:
            raise StorageFailed(f"storage {self}: the content of a file differs after it was written and read")
        self.delete(name)
        return time.perf_counter() - start

    @property
    def _fs(self) -> fs.FileSystem:
        return self._filesystem()

    def _filesystem(self, at_end: bool = False, sdk_tries: int = 1) -> fs.FileSystem:
        return _filesystem(self.scheme, self.path.split("/")[0], self.query, at_end, sdk_tries)

    def _at(self, name: str) -> str:
        if not _is_safe(name):
            raise ValueError(f"storage {self}: {name!r} is not a valid file name")
        return f"{self.path}/{name}"

    def _entry(self, info: fs.FileInfo) -> Entry:
        name = info.path.removeprefix(f"{self.path}/")
        self._at(name)  # raises for a name that points outside the folder
        return Entry(name, info.size, info.mtime_ns / 1e9)

    def _write(self, path: str, content: bytes | pa.Buffer) -> None:
        if self.scheme != "file":
            out = self._filesystem(at_end=len(content) <= SMALL_BYTES).open_output_stream(path)
            out.write(content)  # in one piece; see the module
            out.close()
            return
        with atomic_path(Path(path), shared=True) as temporary:
            temporary.write_bytes(content)

    def _read(self, path: str) -> bytes:
        """Read a file in one request; repeat it if the file was replaced during the request."""
        while True:
            with self._fs.open_input_file(path) as file:
                content: bytes = file.read()
            if self.scheme == "file" or self._fs.get_file_info(path).size == len(content):
                return content

    def _retry(self, operation: str, action: Callable[[], Result], tries: int = TRIES) -> Result:
        """Return the result of an action, which is retried if the storage is remote."""
        attempts_left = 1 if self.scheme == "file" else tries
        while True:
            start = time.perf_counter()
            try:
                result = action()
            except FileNotFoundError:
                raise
            except OSError as error:
                attempts_left -= 1
                cause = one_line(error)
                if attempts_left <= 0 or any(word in cause for word in FINAL):
                    TRANSFERS.add(failures=1)
                    raise StorageFailed(f"storage {self}: cannot {operation}: {cause}") from error
                TRANSFERS.add(retries=1)
                logger.warning("storage %s: cannot %s, retrying: %s", self, operation, cause)
                time.sleep(PAUSES_S[TRIES - 1 - attempts_left])
            else:
                TRANSFERS.add(seconds=time.perf_counter() - start)
                return result


def _is_safe(name: str) -> bool:
    """Return whether a name stays in its folder."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and name.isprintable() and "\\" not in name


def _reject_credentials(scheme: str, netloc: str, query: str) -> None:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "@" in netloc or any("@" in value for value in options.values()):
        raise ValueError("--storage: the address contains credentials; set them in the environment")
    unknown = sorted(set(options) - set(SCHEMES[scheme]))
    if unknown:
        allowed = ", ".join(SCHEMES[scheme]) or "nothing"
        raise ValueError(
            f"--storage {scheme}://...: {', '.join(unknown)} cannot be set in it; expected {allowed} after '?'"
        )


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str, query: str, at_end: bool, sdk_tries: int) -> fs.FileSystem:
    options: dict[str, Any] = dict(parse_qsl(query))
    if scheme == "file":
        return fs.LocalFileSystem()
    if scheme == "gs":
        return fs.GcsFileSystem(**options, retry_time_limit=timedelta(seconds=REQUEST_S))
    region = options.pop("region", None) or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    has_endpoint = "endpoint_override" in options or "AWS_ENDPOINT_URL" in os.environ
    return fs.S3FileSystem(
        **options,
        region=region or (None if has_endpoint else fs.resolve_s3_region(bucket)),
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        allow_delayed_open=at_end,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=sdk_tries),
    )

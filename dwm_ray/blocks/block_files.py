"""Stored streams: `streams/FINGERPRINT/` with one Parquet file a block, `shape.json` and `stream.json`.

They lie in the run's folder, or in its storage. A file that is there is whole; and a block's name is its index, so a
block that was drawn twice is one file.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.runs.storage import Storage
from dwm_ray.types import SegmentShape

Run = Path | Storage
"""A run's folder, or the storage that it is kept in."""
SHAPE, END = "shape.json", "stream.json"


def stream_folder(run: Path, spec: StreamSpec) -> Path:
    return run / "streams" / spec.fingerprint


def write_block(run: Run, spec: StreamSpec, index: int, rows: np.ndarray, shape: SegmentShape) -> None:
    """Write a block's rows [rows, width] float32."""
    stream = _stream(run, spec)
    if not stream.exists(SHAPE):
        _write_json(stream, SHAPE, asdict(shape))
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"row": values}), sink, compression="zstd", use_dictionary=False)
    stream.write(_name(index), sink.getvalue())


def read_block(run: Run, spec: StreamSpec, index: int) -> np.ndarray:
    """Rows [rows, width] of a stored block."""
    table = pq.read_table(pa.BufferReader(_stream(run, spec).read(_name(index))))
    values = table["row"].combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)


def read_shape(run: Run, spec: StreamSpec) -> SegmentShape:
    """The shape of a stream that has stored blocks."""
    return SegmentShape(**json.loads(_stream(run, spec).read(SHAPE)))


def blocks_on_disk(run: Run, spec: StreamSpec) -> dict[int, int]:
    """Index -> number of rows of every whole block."""
    stream = _stream(run, spec)
    found = [re.fullmatch(r"block-(\d+)\.parquet", file.name) for file in stream.files()]
    return {int(match[1]): _num_rows(stream, spec, int(match[1])) for match in found if match}


def rows_on_disk(run: Run, spec: StreamSpec, index: int) -> int | None:
    """Number of rows of a whole block; None where it is not there."""
    stream = _stream(run, spec)
    return _num_rows(stream, spec, index) if stream.exists(_name(index)) else None


def write_end(run: Run, spec: StreamSpec, seconds: float) -> None:
    """`stream.json`, which says that all blocks are there and how long they were drawn; the first one stays."""
    stream = _stream(run, spec)
    if not stream.exists(END):
        about = {"rows": spec.num_segments, "blocks": spec.num_blocks, "seconds": seconds, "finished": time.time()}
        _write_json(stream, END, {**asdict(spec), **about})


def _stream(run: Run, spec: StreamSpec) -> Storage:
    storage = run if isinstance(run, Storage) else Storage.folder(run)
    return storage.child(f"streams/{spec.fingerprint}")


def _num_rows(stream: Storage, spec: StreamSpec, index: int) -> int:
    """What the file says; in a storage, where that would cost two requests, what the stream's specification says."""
    if stream.scheme == "file":
        return int(pq.read_metadata(Path(stream.path) / _name(index)).num_rows)
    return len(spec.rows_of(index))


def _write_json(stream: Storage, name: str, value: Any) -> None:
    stream.write(name, (json.dumps(value, indent=2) + "\n").encode())


def _name(index: int) -> str:
    return f"block-{index:06d}.parquet"

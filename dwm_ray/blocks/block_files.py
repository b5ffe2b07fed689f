"""Stored blocks of a stream: `streams/FINGERPRINT/` with one Parquet file per block, `shape.json` and `stream.json`.

The folder is in the run folder or in its storage. A file that exists is complete. Files are named by block index, so
a block that is generated twice is stored once.
"""

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
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.runs.storage import Storage

Run = Path | Storage
"""A run's folder, or the storage that contains it."""
SHAPE_FILE, STREAM_FILE = "shape.json", "stream.json"


def stream_folder(run: Path, spec: StreamSpec) -> Path:
    return run / "streams" / spec.fingerprint


def write_block(run: Run, spec: StreamSpec, index: int, rows: np.ndarray, shape: SegmentShape) -> None:
    """Write a block's rows [rows, width] float32."""
    stream = _stream(run, spec)
    if not stream.exists(SHAPE_FILE):
        stream.write(SHAPE_FILE, _json(asdict(shape)))
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"row": values}), sink, compression="zstd", use_dictionary=False)
    stream.write(_name(index), sink.getvalue())


def read_block(run: Run, spec: StreamSpec, index: int) -> np.ndarray:
    """Read the rows [rows, width] of a stored block."""
    table = pq.read_table(pa.BufferReader(_stream(run, spec).read(_name(index))))
    values = table["row"].combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)


def read_shape(run: Run, spec: StreamSpec) -> SegmentShape:
    """Read the shape of a stream that has stored blocks."""
    return SegmentShape(**json.loads(_stream(run, spec).read(SHAPE_FILE)))


def stored_blocks(run: Run, spec: StreamSpec) -> dict[int, int]:
    """Return {index: number of rows} of all stored blocks."""
    stream = _stream(run, spec)
    matches = [re.fullmatch(r"block-(\d+)\.parquet", file.name) for file in stream.files()]
    return {int(match[1]): _num_rows(stream, spec, int(match[1])) for match in matches if match}


def stored_rows(run: Run, spec: StreamSpec, index: int) -> int | None:
    """Return the number of rows of a block, or None if it is not stored."""
    stream = _stream(run, spec)
    return _num_rows(stream, spec, index) if stream.exists(_name(index)) else None


def mark_complete(run: Run, spec: StreamSpec, seconds: float) -> None:
    """Write `stream.json`, which marks the stream as complete, unless it exists; `seconds` is the generation time."""
    stream = _stream(run, spec)
    if not stream.exists(STREAM_FILE):
        summary = {"rows": spec.num_segments, "blocks": spec.num_blocks, "seconds": seconds, "finished": time.time()}
        stream.write(STREAM_FILE, _json({**asdict(spec), **summary}))


def _stream(run: Run, spec: StreamSpec) -> Storage:
    storage = run if isinstance(run, Storage) else Storage.folder(run)
    return storage.child(f"streams/{spec.fingerprint}")


def _num_rows(stream: Storage, spec: StreamSpec, index: int) -> int:
    """Read the number from a local file; compute it for a remote one, because reading that costs two requests."""
    if stream.scheme == "file":
        return int(pq.read_metadata(Path(stream.path) / _name(index)).num_rows)
    return len(spec.rows_of(index))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _name(index: int) -> str:
    return f"block-{index:06d}.parquet"

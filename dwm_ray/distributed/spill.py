"""Streams on disk: `streams/FINGERPRINT/` with one Parquet file a block, `shape.json` and `stream.json`.

A block's file is written under another name and renamed, so a file that is there is whole; and its name is its index,
so a block that was drawn twice is one file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dwm_ray.checkpoint import write_json
from dwm_ray.synthesis import StreamSpec
from dwm_ray.types import SegmentShape


def stream_folder(run: Path, spec: StreamSpec) -> Path:
    return run / "streams" / spec.fingerprint


def write_block(run: Path, spec: StreamSpec, index: int, rows: np.ndarray, shape: SegmentShape) -> None:
    """Write a block's rows [rows, width] float32."""
    folder = stream_folder(run, spec)
    if not (folder / "shape.json").exists():
        write_json(folder / "shape.json", asdict(shape))
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    part = folder / f".block-{index:06d}.{os.getpid()}.part"
    pq.write_table(pa.table({"row": values}), part, compression="zstd", use_dictionary=False)
    part.replace(_path(folder, index))


def read_block(run: Path, spec: StreamSpec, index: int) -> np.ndarray:
    """Rows [rows, width] of a block that is on disk."""
    table = pq.read_table(_path(stream_folder(run, spec), index))
    values = table["row"].combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)


def read_shape(run: Path, spec: StreamSpec) -> SegmentShape:
    """The shape of a stream that has blocks on disk."""
    return SegmentShape(**json.loads((stream_folder(run, spec) / "shape.json").read_text()))


def blocks_on_disk(run: Path, spec: StreamSpec) -> dict[int, int]:
    """Index -> number of rows of every whole block."""
    paths = sorted(stream_folder(run, spec).glob("block-*.parquet"))
    return {int(path.stem.removeprefix("block-")): pq.read_metadata(path).num_rows for path in paths}


def rows_on_disk(run: Path, spec: StreamSpec, index: int) -> int | None:
    """Number of rows of a whole block; None where it is not there."""
    path = _path(stream_folder(run, spec), index)
    return pq.read_metadata(path).num_rows if path.exists() else None


def _path(folder: Path, index: int) -> Path:
    return folder / f"block-{index:06d}.parquet"

"""Read Episodes from Parquet: one row per transition, D4RL's names, vectors as lists, null for unknown next states.

The files of a folder are read in natural order of their names: part-2 before part-10.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dwm_ray.data.checks import REQUIRED, episodes_from
from dwm_ray.data.d4rl import card_of
from dwm_ray.errors import one_line
from dwm_ray.types import DataCard, Episodes

ENV_KEY = b"env_id"


def read(path: Path, name: str, source: str, env_id: str | None, env_kwargs: str | None = None) -> Episodes:
    """Return the episodes of a file or folder; `env_id` overrides its environment."""
    table = _table(path)
    arrays = {key: _column(table, key, path) for key in (*REQUIRED, "next_observations") if key in table.column_names}
    if "next_observations" in arrays:
        arrays["known_next"] = table["next_observations"].is_valid().to_numpy()
    named = (table.schema.metadata or {}).get(ENV_KEY, b"").decode(errors="replace") or None
    return episodes_from(arrays, card_of(DataCard(name, source, str(path), env_id, ""), named, env_kwargs))


def _table(path: Path) -> pa.Table:
    files = sorted(path.rglob("*.parquet"), key=_by_number) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ValueError(f"{path}: {'holds no Parquet files' if path.is_dir() else 'no such file'}")
    tables = [_file_table(file) for file in files]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(
            f"{path}: its files have different columns ({one_line(error)}); expected equal ones"
        ) from error


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts part-10 after part-2."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", str(path))]


def _file_table(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}: cannot be read as Parquet ({one_line(error)}); expected a complete file that you may read"
        ) from error


def _column(table: pa.Table, key: str, path: Path) -> np.ndarray:
    """Return scalar columns as [N] and lists as [N, width]; only next_observations may contain nulls (read as 0)."""
    column = table[key].combine_chunks()
    if column.null_count and key != "next_observations":
        raise ValueError(f"{path}: column {key!r} has {column.null_count} nulls; expected none")
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return column.to_numpy(zero_copy_only=False)
    widths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    if len(widths) > 1:
        raise ValueError(f"{path}: column {key!r} holds vectors of lengths {sorted(widths)}; expected one length")
    values = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    out = np.zeros((len(column), widths[0] if widths else 0), dtype=values.dtype)
    out[column.is_valid().to_numpy(zero_copy_only=False)] = values.reshape(-1, out.shape[1])
    return out

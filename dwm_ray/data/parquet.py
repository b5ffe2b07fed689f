"""Read Episodes from Parquet: one row per transition, D4RL's names, vectors as lists, null for unknown next states.

The files of a folder are read in natural order of their names: part-2 before part-10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dwm_ray.data import chunks, mapped
from dwm_ray.data.checks import REQUIRED, Arrays, episodes_from
from dwm_ray.data.d4rl import card_of
from dwm_ray.data.environment import ATTRIBUTES, named_by
from dwm_ray.errors import one_line
from dwm_ray.types import DataCard, Episodes

COLUMNS = (*REQUIRED, "next_observations")


def read(path: Path, name: str, source: str, env_id: str | None, env_kwargs: str | None = None) -> Episodes:
    """Return the episodes of a file or folder; `env_id` overrides its environment."""
    table, card = _Table.of(path), DataCard(name, source, str(path), env_id, "")
    return mapped.converted(card, env_kwargs, table.files, table.num_bytes, lambda: _read(table, card, env_kwargs))


def _read(table: _Table, card: DataCard, env_kwargs: str | None) -> Episodes:
    metadata = table.schema.metadata or {}
    stored = {key: metadata.get(key.encode(), b"").decode(errors="replace") for key in ATTRIBUTES}
    attributes = {key: value for key, value in stored.items() if value}
    card = card_of(card, named_by(card.path, attributes, card.env_id), env_kwargs)
    return episodes_from(mapped.joined(card.path, table.parts(), table.num_rows), card)


@dataclass(frozen=True)
class _Table:
    """Table stored in one or more files."""

    path: Path
    files: list[Path]
    schema: pa.Schema
    num_rows: int
    num_bytes: int

    @staticmethod
    def of(path: Path) -> _Table:
        """Read the columns and sizes of a file, or of the files of a folder."""
        files = sorted(path.rglob("*.parquet"), key=_by_number) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise ValueError(f"{path}: {'holds no Parquet files' if path.is_dir() else 'no such file'}")
        metadata = [_metadata(file) for file in files]
        try:
            schemas = [data.schema.to_arrow_schema() for data in metadata]
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise ValueError(
                f"{path}: its files have different columns, or two of one name ({one_line(error)}); expected equal ones"
            ) from error
        _check_attributes(path, [file_schema.metadata or {} for file_schema in schemas])
        groups = [data.row_group(index) for data in metadata for index in range(data.num_row_groups)]
        num_bytes = sum(group.total_byte_size for group in groups)
        return _Table(path, files, schema, sum(data.num_rows for data in metadata), num_bytes)

    def parts(self) -> Iterator[Arrays]:
        """Iterate over batches of rows as arrays, in order."""
        columns = [key for key in COLUMNS if key in self.schema.names]
        empty = pa.schema([self.schema.field(key) for key in columns]).empty_table()
        for file in self.files:
            with _reading(file):
                for batch in pq.ParquetFile(file).iter_batches(chunks.CHUNK, columns=columns):
                    table = pa.concat_tables([empty, pa.Table.from_batches([batch])], promote_options="permissive")
                    yield _arrays(table, self.path)


def _check_attributes(path: Path, metadata: list[dict[bytes, bytes]]) -> None:
    """Raise ValueError if files name different environments."""
    for key in ATTRIBUTES:
        values = {data.get(key.encode()) for data in metadata}
        if len(values) > 1:
            raise ValueError(f"{path}: its files have different metadata {key!r}; expected files of one environment")


def _metadata(path: Path) -> pq.FileMetaData:
    with _reading(path):
        return pq.read_metadata(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}: cannot be read as Parquet ({one_line(error)}); expected a complete file that you may read"
        ) from error


def _arrays(table: pa.Table, path: Path) -> Arrays:
    """Return the columns as arrays; vectors that are all null have the width of the observations."""
    arrays = {key: _column(table, key, path) for key in table.column_names}
    if "next_observations" in arrays:
        known_next = table["next_observations"].is_valid().to_numpy()
        arrays["known_next"] = known_next
        if not known_next.any() and "observations" in arrays:
            arrays["next_observations"] = np.zeros_like(arrays["observations"])
    return arrays


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts part-10 after part-2."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", str(path))]


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
    if not widths:
        return np.zeros((len(column), 0))
    out = np.zeros((len(column), widths[0]), dtype=values.dtype)
    out[column.is_valid().to_numpy(zero_copy_only=False)] = values.reshape(-1, out.shape[1])
    return out

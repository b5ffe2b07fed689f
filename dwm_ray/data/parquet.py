"""Episodes as Parquet: one row a transition under D4RL's names, vectors as fixed-size lists, null where unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dwm_ray.data.checks import REQUIRED, episodes_from
from dwm_ray.data.d4rl import environment
from dwm_ray.types import DataCard, Episodes

ENV_KEY = b"env_id"


def read(path: Path, name: str, source: str, env_id: str | None) -> Episodes:
    """Episodes of a Parquet file; `env_id` where its metadata do not name the environment. ValueError names the
    file and the column at fault."""
    table = _table(path)
    arrays = {key: _column(table, key, path) for key in (*REQUIRED, "next_observations") if key in table.column_names}
    if "next_observations" in arrays:
        arrays["known_next"] = table["next_observations"].is_valid().to_numpy()
    named = (table.schema.metadata or {}).get(ENV_KEY, b"").decode() or None
    card = DataCard(name, source, str(path), environment(path, named, env_id), fingerprint="")
    return episodes_from(arrays, card)


def write(episodes: Episodes, path: Path) -> None:
    """Write a file that `read` gives back unchanged. ValueError where it exists."""
    if path.exists():
        raise ValueError(f"{path}: exists already, nothing is overwritten")
    columns = {
        "observations": _vectors(episodes.obs),
        "actions": _vectors(episodes.act),
        "rewards": pa.array(episodes.rew),
        "terminals": pa.array(episodes.terminated),
        "timeouts": pa.array(episodes.truncated),
        "next_observations": _vectors(episodes.next_obs, unknown=~episodes.known_next),
    }
    table = pa.table(columns).replace_schema_metadata({ENV_KEY: episodes.card.env_id.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def _table(path: Path) -> pa.Table:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet, is it complete? ({error})") from error


def _column(table: pa.Table, key: str, path: Path) -> np.ndarray:
    """Flat columns as [N], lists as [N, width]; null is refused but in next_observations, where it becomes 0."""
    column = table[key].combine_chunks()
    if column.null_count and key != "next_observations":
        raise ValueError(f"{path}: column {key!r} has {column.null_count} nulls")
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or _is_fixed(column.type)):
        return column.to_numpy(zero_copy_only=False)
    widths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    if len(widths) > 1:
        raise ValueError(f"{path}: column {key!r} holds vectors of different lengths: {sorted(widths)}")
    values = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    out = np.zeros((len(column), widths[0] if widths else 0), dtype=values.dtype)
    out[column.is_valid().to_numpy(zero_copy_only=False)] = values.reshape(-1, out.shape[1])
    return out


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _vectors(array: np.ndarray, unknown: np.ndarray | None = None) -> pa.Array:
    mask = None if unknown is None else pa.array(unknown)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1], mask=mask)

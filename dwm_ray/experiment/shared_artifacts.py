"""World models and streams that the trials of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.env_options import EnvOptions
from dwm_ray.runs.folder import RunFolder, read_json
from dwm_ray.tasks.table import environment_info
from dwm_ray.types import Json
from dwm_ray.world_models.base import trained_options
from dwm_ray.world_models.parts.build import model_fingerprint


@dataclass(frozen=True)
class SharedArtifacts:
    """World models and streams by fingerprint, as the trials' options describe them."""

    models: dict[str, tuple[str, int]]
    """Plug-in and number of updates."""
    streams: dict[str, StreamSpec]
    num_updates: int | None
    """Updates of any other world model; known if all world models of the run have the same number."""

    @staticmethod
    def of(run: RunFolder, options: Json) -> SharedArtifacts:
        identity = _identity(read_json(run.root / "data.json"))
        configs = [folder / "config.json" for folder in run.trials()]
        artifacts = [_artifacts_of(config, identity) for config in configs if config.is_file()]
        models = {name: summary for name, summary, _ in artifacts if name and summary}
        streams = {spec.fingerprint: spec for _, _, spec in artifacts if spec is not None}
        totals: set[int | None] = {summary[1] for _, summary, _ in artifacts if summary}
        totals = totals or {(options["world_model"] or {}).get("num_updates")}
        return SharedArtifacts(models, streams, totals.pop() if len(totals) == 1 else None)


@lru_cache(maxsize=4096)
def _artifacts_of(
    config: Path, identity: DataIdentity | None
) -> tuple[str | None, tuple[str, int] | None, StreamSpec | None]:
    """Return fingerprint, (plug-in, updates) and stream of a trial's world model; None for each unknown."""
    run = stored_config(config)
    model = None if run is None else trained_options(run)
    if run is None or model is None:
        return None, None, None
    summary = (model.plugin_name(), model.num_updates)
    if identity is None:
        return None, summary, None
    name = model_fingerprint(run, identity)
    return name, summary, StreamSpec.of(run, name, identity.num_pairs)


@lru_cache(maxsize=4096)
def stored_config(config: Path) -> RunConfig | None:
    """Return the options of a trial; None if the file is missing or of another version of the code.

    A trial is named by its options, so its file never changes.
    """
    try:
        return RunConfig.model_validate(read_json(config))
    except (ValidationError, ValueError):
        return None


def _identity(data: Json | None) -> DataIdentity | None:
    """Return the identity of the data, or None if their RTG scale was measured on rows that are not read here."""
    if data is None:
        return None
    info = environment_info(data["env_id"], EnvOptions.from_json(data.get("env_options", {})))
    if info is None or not info.rtg_scale:
        return None
    return DataIdentity(data["fingerprint"], info.rtg_scale, data.get("start_pairs", 0))

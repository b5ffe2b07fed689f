"""The environment of a dataset: the one that its file names, or the one that the user requests.

A file may describe its environment by more than the id: keyword arguments, a time limit, wrappers. They are used unless
the user requests another environment. A module before the id ('robots:Arm-v0') is ignored in this comparison.

Without an environment, sizes are those of the data, and action bounds are recorded or set by the user.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium.envs.registration import EnvSpec
from pydantic import BaseModel, Json, ValidationError

from dwm_ray.env_options import REGISTERED, EnvOptions
from dwm_ray.errors import reason
from dwm_ray.options import DataConfig, PositiveInt
from dwm_ray.tasks.environments import bare_id, spaces_of, specification, time_limit
from dwm_ray.types import DataCard, Spaces

RECREATED = (
    "ClipAction",
    "ClipReward",
    "FilterObservation",
    "FlattenObservation",
    "RescaleAction",
    "RescaleObservation",
    "TimeAwareObservation",
)
"""Gymnasium wrappers that are completely described by their arguments."""
WITHOUT_EFFECT = ("HumanRendering", "RecordEpisodeStatistics", "RecordVideo", "RenderCollection")
"""Wrappers that do not change observations, actions or rewards."""
NO_ENVIRONMENT = "none"
"""Value of the option data.env for data without an environment."""
ATTRIBUTES = {
    "env_id": "the id of one environment",
    "env_kwargs": "a JSON object",
    "env_max_episode_steps": "a number of steps",
    "env_wrappers": "a JSON list",
}
"""Attributes by which HDF5 and Parquet files name an environment and its options (`EnvOptions.attributes`)."""
SHORTEST_CAP, LONGEST_CAP = 1000, 10_000
"""Range of the step limit for evaluated episodes of environments without a time limit."""
MARGIN = 1e-3
"""Margin around a constant action dimension, times its value if that exceeds 1; scaling needs unequal bounds."""


@dataclass(frozen=True)
class NamedEnvironment:
    """Environment named by a file."""

    env_id: str
    options: EnvOptions = REGISTERED

    def is_same(self, env_id: str) -> bool:
        """Return whether an id, with or without its module, names this environment."""
        return bare_id(self.env_id) == bare_id(env_id)


class _Attributes(BaseModel):
    """Options of an environment as text attributes of a file."""

    env_kwargs: Json[dict[str, Any]] = {}
    env_max_episode_steps: Json[PositiveInt] | None = None
    env_wrappers: Json[tuple[tuple[Literal[RECREATED], Json[dict[str, Any]]], ...]] = ()  # type: ignore[valid-type]

    def options(self) -> EnvOptions:
        """Return the options in a canonical form."""
        wrappers = tuple((name, json.dumps(arguments, sort_keys=True)) for name, arguments in self.env_wrappers)
        return EnvOptions(json.dumps(self.env_kwargs, sort_keys=True), self.env_max_episode_steps, wrappers)


def named_by(origin: str, attributes: Mapping[str, str], requested: str | None) -> NamedEnvironment | None:
    """Return the environment that the `ATTRIBUTES` of a file name, without its options if another one is `requested`.

    Raises ValueError for options that cannot be used.
    """
    if "env_id" not in attributes:
        return None
    named = NamedEnvironment(attributes["env_id"])
    if requested and not named.is_same(requested):
        return named
    try:
        options = _Attributes.model_validate(attributes).options()
    except ValidationError as error:
        raise ValueError(f"{origin}: attribute {reason(error)}; expected JSON of the environment's options") from error
    return replace(named, options=options)


def environment_id(origin: str, named: str | None, requested: str | None) -> str | None:
    """Return the id that is `requested` (option data.env), else the one that the data name.

    Returns None for data without an environment, and if 'none' is requested. Gymnasium imports the module of an id
    'MODULE:NAME'. Data must not decide which code runs on this machine, so such an id must be requested by the user.
    """
    env_id = requested or named
    if not env_id or requested == NO_ENVIRONMENT:
        return None
    if ":" in env_id and not requested:
        raise ValueError(
            f"{origin}: names {env_id!r}, which would import the module {env_id.partition(':')[0]!r}; expected "
            f"--data.env {env_id} if you trust it"
        )
    return env_id


def with_environment(card: DataCard, named: NamedEnvironment | None, kwargs: str | None) -> DataCard:
    """Return the card with the options of its environment, and a note if the data name another environment.

    `kwargs` (option data.env_kwargs) override those of the data.
    """
    if card.env_id is None:
        if kwargs is not None:
            raise ValueError(f"data.env_kwargs: {card.path} has no environment; expected data.env too, or neither")
        return card
    options, notes = REGISTERED, card.notes
    if named and named.is_same(card.env_id):
        options = named.options
    elif named:
        notes = (
            *notes,
            f"{card.path} names the environment {named.env_id}; {card.env_id} is used, as data.env requests",
        )
    if kwargs is not None:
        merged = json.loads(options.kwargs) | json.loads(kwargs)
        options = replace(options, kwargs=json.dumps(merged, sort_keys=True))
    return replace(card, env_options=options, notes=notes)


def with_step_cap(card: DataCard, longest_episode: int) -> DataCard:
    """Return the card with a step limit for evaluated episodes if the environment has none or a very long one."""
    if card.env_id is None:
        return card
    limit = time_limit(card.env_id, card.env_options)
    if limit is not None and limit <= max(LONGEST_CAP, longest_episode):
        return card
    cap = min(max(longest_episode, SHORTEST_CAP), LONGEST_CAP)
    description = "has no time limit" if limit is None else f"has a time limit of {limit:,} steps"
    note = f"{card.env_id} {description}: evaluated episodes end after {cap:,} steps"
    return replace(card, env_options=replace(card.env_options, max_episode_steps=cap), notes=(*card.notes, note))


def known_spaces(origin: str, env_id: str, options: EnvOptions = REGISTERED) -> Spaces:
    """Return the spaces of an environment; raise ValueError naming the data if it cannot be created."""
    try:
        return spaces_of(env_id, options)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error


def options_of(origin: str, env_id: str, spec: EnvSpec) -> EnvOptions:
    """Return the differences between a recorded specification and the registration of `env_id`.

    Raises ValueError naming wrappers that cannot be recreated, because scores would belong to another environment.
    """
    registered = specification(env_id)
    kwargs = {
        name: value
        for name, value in spec.kwargs.items()
        if name != "render_mode" and registered.kwargs.get(name) != value
    }
    limit = spec.max_episode_steps if spec.max_episode_steps != registered.max_episode_steps else None
    wrappers = [wrapper for wrapper in spec.additional_wrappers if wrapper.name not in WITHOUT_EFFECT]
    _check_wrappers(origin, env_id, wrappers)
    pairs = tuple((wrapper.name, json.dumps(wrapper.kwargs, sort_keys=True)) for wrapper in wrappers)
    return EnvOptions(json.dumps(kwargs, sort_keys=True), limit, pairs)


def _check_wrappers(origin: str, env_id: str, wrappers: list[Any]) -> None:
    unknown = [
        wrapper.name
        for wrapper in wrappers
        if wrapper.name not in RECREATED or not wrapper.entry_point.startswith("gymnasium.wrappers")
    ]
    if unknown:
        raise ValueError(
            f"{origin}: was recorded in {env_id} with the wrappers {', '.join(unknown)}, which cannot be recreated "
            "here; expected data.env with an environment of your own that includes them, or none"
        )


def recorded_spaces(obs_size: int, act: np.ndarray) -> Spaces:
    """Return the spaces of recorded actions [N, A]: the bounds are the minimum and maximum of each dimension."""
    low, high = act.min(0).astype(np.float64), act.max(0).astype(np.float64)
    margin = np.where(low == high, MARGIN * np.maximum(np.abs(low), 1), 0.0)
    return Spaces(obs_size, act.shape[1], tuple((low - margin).tolist()), tuple((high + margin).tolist()))


def with_action_bounds(recorded: Spaces, config: DataConfig) -> Spaces:
    """Return the spaces with the bounds of `config`; raise ValueError unless they contain all recorded actions."""
    low = _per_dimension("act_low", config.act_low, recorded.act_low)
    high = _per_dimension("act_high", config.act_high, recorded.act_high)
    for number in range(recorded.act_size):
        lowest, highest = recorded.act_low[number], recorded.act_high[number]
        if low[number] > lowest or high[number] < highest:
            raise ValueError(
                f"data.act_low, data.act_high: {low[number]:g} to {high[number]:g} for action {number}, whose recorded "
                f"values are {lowest:g} to {highest:g}; expected bounds of all recorded values"
            )
    return replace(recorded, act_low=low, act_high=high)


def spaces_text(spaces: Spaces, config: DataConfig) -> str:
    """Describe sizes and action bounds, with their source."""
    sides = [("data.act_low", config.act_low, spaces.act_low), ("data.act_high", config.act_high, spaces.act_high)]
    bounds = [f"{_numbers(values)} ({'the data' if option is None else name})" for name, option, values in sides]
    return f"{spaces.obs_size} observations, {spaces.act_size} actions from {bounds[0]} to {bounds[1]}"


def _per_dimension(name: str, bounds: tuple[float, ...] | None, recorded: tuple[float, ...]) -> tuple[float, ...]:
    """Return one bound per dimension; a single number applies to all."""
    if bounds is None:
        return recorded
    if len(bounds) not in (1, len(recorded)):
        raise ValueError(f"data.{name}: {len(bounds)} numbers; expected one, or one per action ({len(recorded)})")
    return bounds if len(bounds) == len(recorded) else bounds * len(recorded)


def _numbers(values: tuple[float, ...]) -> str:
    texts = list(dict.fromkeys(f"{value:.3g}" for value in values))
    return texts[0] if len(texts) == 1 else f"[{', '.join(f'{value:.3g}' for value in values)}]"

"""`RunConfig`: the validated options of one run, which convert to JSON and back without loss.

World model, agent and filter are plug-ins: their part of the tree is the `Config` of the chosen class, with its `name`
in JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, PlainSerializer, ValidationError, model_validator

from dwm_ray import registry
from dwm_ray.errors import reason
from dwm_ray.options import PluginConfig, RunOptions


def _plugin_field(kind: str) -> tuple[BeforeValidator, PlainSerializer]:
    def parse(value: Any) -> Any:
        if value is None or isinstance(value, PluginConfig):
            return value
        options = {"name": value} if isinstance(value, str) else dict(value)
        cls = registry.find(kind, options.pop("name", "<missing name>"))
        return cls.Config.model_validate(options)

    def dump(value: PluginConfig | None) -> Any:
        return None if value is None else {"name": value.plugin_name(), **value.model_dump(mode="json")}

    return BeforeValidator(parse), PlainSerializer(dump)


class RunConfig(RunOptions):
    """All options of one run. A plug-in is given by its options, its name, or a tree of options with its name."""

    world_model: Annotated[PluginConfig | None, *_plugin_field("world_models")] = None
    agent: Annotated[PluginConfig, *_plugin_field("agents")]
    filter: Annotated[PluginConfig, *_plugin_field("filters")]

    @model_validator(mode="after")
    def _check_plugins(self) -> Self:
        for plugin in (self.world_model, self.agent, self.filter):
            if plugin is not None:
                plugin.check(self)
        return self

    @classmethod
    def stored(cls, tree: Any, source: object) -> Self:
        """Return the options that a run has stored at `source`; raise ValueError if this version cannot read them."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ValueError(
                f"{source}: stored options do not fit this version of dwm_ray ({reason(error)}); expected a run of "
                "this version"
            ) from error

    @classmethod
    def resumable(cls, tree: Any, source: object) -> Self:
        """Return stored options of a run to resume; raise ValueError if this version has others.

        Names of trials depend on all options, so a run of another version would train its finished trials again.
        """
        config = cls.stored(tree, source)
        if config.model_dump(mode="json") != tree:
            raise ValueError(
                f"{source}: this version of dwm_ray has options that the run has not stored; expected a run of this "
                "version"
            )
        return config

    def with_values(self, values: dict[str, Any]) -> RunConfig:
        """Return a validated copy with options replaced by dotted path, such as {'synthesis.horizon': 3}.

        A path without a dot replaces a whole group or plug-in ({'filter': 'hardmax'}) before other options are set.
        """
        tree = self.model_dump(mode="json")
        for path in [path for path in values if "." not in path]:
            _replace(tree, path, values[path])
        tree = RunConfig.model_validate(tree).model_dump(mode="json")
        for path in [path for path in values if "." in path]:
            _replace(tree, path, values[path])
        return RunConfig.model_validate(tree)


def _replace(tree: dict[str, Any], path: str, value: Any) -> None:
    *groups, leaf = path.split(".")
    for group in groups:
        tree = tree.get(group) or {}
    if leaf not in tree:
        raise ValueError(f"{path}: no such option with the chosen plug-ins")
    tree[leaf] = value

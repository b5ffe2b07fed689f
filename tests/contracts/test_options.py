"""Contract of the options of every plug-in."""

import pytest
from outside import all_plugins

from dwm_ray.options import Profile
from dwm_ray.registry import BASES, find

pytestmark = pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BASES for name in all_plugins(kind)])


@pytest.mark.parametrize("profile", ["paper", "laptop"])
def test_default_options_survive_json(kind: str, name: str, profile: Profile) -> None:
    config = find(kind, name).Config.for_profile(profile)
    assert type(config).model_validate_json(config.model_dump_json()) == config
    assert config.plugin_name() == name


def test_every_option_has_a_help_text(kind: str, name: str) -> None:
    """Also if it overrides only the default of a shared option."""
    fields = find(kind, name).Config.model_fields
    assert [option for option, info in fields.items() if not info.description] == []


def test_unknown_options_are_refused(kind: str, name: str) -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        find(kind, name).Config(no_such_option=1)

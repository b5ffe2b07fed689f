"""Plug-ins are found in the package's folders and through entry points of other distributions."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import write_distribution

from dwm_ray import registry
from dwm_ray.config import RunConfig
from dwm_ray.experiment.names import world_model_label
from dwm_ray.experiment.profiles import run_config
from pipelines import train

STUB = """
from dwm_ray.world_models.base import WorldModel, WorldModelConfig


class StubConfig(WorldModelConfig):
    strength: float = 0.5
    \"\"\"Strength of the stub.\"\"\"


class Stub(WorldModel):
    Config = StubConfig
    label = "The Stub"
    follows_policy = False
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path that contains the modules `acme.stub` and `acme.same`; plug-ins are searched again."""
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "stub.py").write_text(STUB)
    (package / "quits.py").write_text("import sys; sys.exit(3)")
    (package / "same.py").write_text(STUB.replace("Config = StubConfig", ""))
    monkeypatch.syspath_prepend(tmp_path)
    registry.plugins.cache_clear()
    yield tmp_path
    registry.plugins.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


@pytest.mark.parametrize("value", ["acme.stub", "acme.stub:Stub"])
def test_a_plugin_of_another_distribution_is_found(site: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_distribution(site, "acme-models", {"dwm_ray.world_models": {"stub": value}})
    assert registry.find("world_models", "stub").__name__ == "Stub"
    assert {"dwm", "stub"} <= registry.plugins("world_models").keys()
    config = run_config("laptop", "stub").with_values({"world_model.strength": 2.0})
    assert config.model_dump(mode="json")["world_model"]["name"] == "stub"
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert world_model_label("stub") == "The Stub"
    with pytest.raises(SystemExit):
        train.main(["--world-model", "stub", "--help"])
    assert "--world-model.strength" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dwm", "acme.stub", "the name is taken by <class 'dwm_ray.world_models.dwm.DWM'>; expected another name"),
        ("other", "acme.stub", "<class 'acme.stub.Stub'> is named 'stub' after its module; expected 'other'"),
        ("same", "acme.same", "<class 'acme.same.Stub'> has no options of its own; expected a nested Config"),
        ("gone", "acme.gone", r"cannot load acme.gone (ModuleNotFoundError: No module named 'acme.gone'); expected"),
        ("quits", "acme.quits", "cannot load acme.quits (SystemExit: 3); expected an importable WorldModel"),
        ("stub", "acme.stub:StubConfig", "<class 'acme.stub.StubConfig'> is not a plug-in; expected a WorldModel"),
        ("stub", "acme", "None is not a plug-in; expected a WorldModel"),
    ],
)
def test_a_wrong_entry_point_names_its_distribution(site: Path, name: str, value: str, message: str) -> None:
    write_distribution(site, "acme-models", {"dwm_ray.world_models": {name: value}})
    with pytest.raises(ValueError, match="entry point") as caught:
        registry.plugins("world_models")
    where = f"entry point '{name}' in group dwm_ray.world_models of distribution acme-models 1.0: "
    assert str(caught.value).startswith(where + message)


def test_two_distributions_cannot_share_a_name(site: Path) -> None:
    for owner in ("acme-models", "acme-more-models"):
        write_distribution(site, owner, {"dwm_ray.world_models": {"stub": "acme.stub"}})
    with pytest.raises(ValueError, match=r"of distribution acme-(more-)?models 1\.0: the name is taken by .*Stub"):
        registry.plugins("world_models")


def test_a_wrong_entry_point_ends_a_program_with_one_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_distribution(site, "acme-models", {"dwm_ray.filters": {"gone": "acme.gone"}})
    assert train.main(["--help"]) == 2
    assert capsys.readouterr().err.startswith("error: entry point 'gone' in group dwm_ray.filters of distribution acme")

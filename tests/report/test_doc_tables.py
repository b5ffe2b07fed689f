"""Tables of the documentation: content, and regions of Markdown files."""

from pathlib import Path

import pytest
from programs import load_program

from dwm_ray import registry
from dwm_ray.experiment import profiles
from dwm_ray.experiment.search_space import dimensions
from dwm_ray.report.doc_tables import render, stale, tables, update


def cells(name: str) -> list[list[str]]:
    """Return the rows of a table below its header."""
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in render(name).splitlines()[2:]]


@pytest.mark.parametrize("name", list(tables()))
def test_rows_have_as_many_cells_as_the_header(name: str) -> None:
    lines = render(name).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert len(lines) > 2 or name in ("options.filter.keep_all", "options.world-model.recorded")  # have no options


def test_methods_are_those_that_can_run() -> None:
    rows = {row[0]: row[1:] for row in cells("methods")}
    assert list(rows)[:2] == ["model-free", "Autoregressive"]
    planner = list(registry.plugins("agents")).index("decision_diffuser")
    assert {name: row[planner] for name, row in rows.items() if row[planner] != "–"} == {"DWM": "plans"}
    assert set(rows["DWM"]) == {"stream", "plans"}


def test_axes_name_the_shared_part_that_they_regenerate() -> None:
    rows = {row[0].strip("`"): row for row in cells("axes")}
    assert set(rows) == set(dimensions())
    created = {name: row[-1] for name, row in rows.items()}
    assert (created["sequence_length"], created["temperature"], created["horizon"]) == (
        "world model, stream",
        "stream",
        "–",
    )
    assert rows["horizon"][2:4] == ["`5` `10`", "`1` `3` `5` `7`"]


def test_tasks_name_score_and_terminations() -> None:
    rows = {row[0]: row for row in cells("tasks")}
    assert rows["`antmaze-umaze`"][3:] == ["success rate", "best return", "never"]
    assert rows["`hopper-`{random, medium, medium-replay, medium-expert, expert}"][3:] == [
        "normalised score",
        "400",
        "rule",
    ]


def test_plugins_link_their_papers() -> None:
    summary, papers = next(row[1:] for row in cells("world-models") if row[0] == "`--world-model dawm`")
    assert "DAWM" in summary
    assert papers == "[2509.19538](https://arxiv.org/abs/2509.19538)"


def test_every_option_of_a_run_is_in_one_table() -> None:
    listed = [row[0].strip("`") for name in tables() if name.startswith("options.") for row in cells(name)]
    for group, value in profiles.run_config("paper").model_dump().items():
        options = [f"{group}.{name}" for name in value] if isinstance(value, dict) else [group]
        if group not in profiles.PLUGINS:
            assert {f"--{option.replace('_', '-')}" for option in options} <= set(listed)


def test_an_overridden_default_keeps_its_text() -> None:
    batch = next(row for row in cells("options.world-model.synther") if row[0] == "`--world-model.batch-size`")
    assert batch[-1] != "–"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(
        "# Tables\n\n<!-- generated: axes -->\n<!-- /generated -->\n\ntext `<!-- generated: NAME -->`\n\n"
        f"<!-- generated: methods -->\n\n{render('methods')}\n\n<!-- /generated -->\nend\n"
    )
    return path


def test_stale_regions_are_found_and_updated(page: Path) -> None:
    assert stale(page) == ["axes"]
    assert update(page) == ["axes"]
    assert (stale(page), update(page)) == ([], [])
    text = page.read_text()
    assert text.startswith("# Tables\n\n<!-- generated: axes -->\n\n| axis |")
    assert text.endswith("<!-- /generated -->\nend\n")
    assert text.count("<!-- /generated -->") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- generated: axes -->\n", "page.md: a generated region has no end"),
        ("<!-- generated: axes -->\n<!-- generated: tasks -->\n<!-- /generated -->\n", "has no end"),
        ("<!-- generated: axis -->\n<!-- /generated -->\n", "unknown table 'axis'; did you mean axes"),
    ],
)
def test_broken_regions_are_refused(page: Path, text: str, message: str) -> None:
    page.write_text(text)
    with pytest.raises(ValueError, match=message):
        update(page)
    assert page.read_text() == text


def test_program_checks_and_writes(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = load_program("pipelines/methods.py")
    assert program.main(["--check", str(page)]) == 1
    assert "axes differs from the code" in capsys.readouterr().err
    assert program.main(["--write", str(page)]) == 0
    assert program.main(["--check", str(page)]) == 0
    assert program.main(["--tables", "methods"]) == 0
    assert capsys.readouterr().out.endswith(f"{render('methods')}\n")
    page.write_text("<!-- generated: axes -->\n")
    assert program.main(["--check", str(page)]) == 2

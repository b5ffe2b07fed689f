"""External commands: their rates and their errors."""

import sys

import pytest

from dwm_ray.benchmarks.peers import Peer
from dwm_ray.runs.folder import RunFailed


def printing(code: str) -> Peer:
    return Peer.parse(f'other={sys.executable} -c "{code}"')


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("'155.5'", 155.5),
        ("'warm-up 3\\nupdates/s: 1.5e2'", 150.0),
        ("'.5'", 0.5),
        ("'7 of 9 done, 12 it/s\\n12'", 12.0),
    ],
)
def test_the_last_word_is_the_rate(text: str, rate: float) -> None:
    assert printing(f"print({text})").rate() == rate


def test_a_command_runs_without_a_shell() -> None:
    assert Peer.parse("corl=python run.py --env 'Half Cheetah' x=1").words == (
        "python", "run.py", "--env", "Half Cheetah", "x=1",
    )  # fmt: skip
    assert Peer.parse(f"a={sys.executable} -c 'import sys; print(len(sys.argv))' $HOME *").rate() == 3


@pytest.mark.parametrize("text", ["corl", "corl=", "=python"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected NAME=COMMAND"):
        Peer.parse(text)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print('done')", "other: printed 'done' last; expected its rate, a positive number"),
        ("print(0)", "printed '0' last"),
        ("print('1,234.5')", "printed '1,234.5' last"),
        ("print('12.3 nan')", "printed '12.3 nan' last"),
        ("print('1e400')", "printed '1e400' last"),
        ("print('123 updates/s (float32)')", "expected its rate"),
        ("pass", "printed 'nothing' last"),
        ("raise SystemExit('it broke')", r"other: ended with code 1 \(it broke\)"),
    ],
)
def test_a_command_without_a_rate_is_an_error(code: str, text: str) -> None:
    with pytest.raises(RunFailed, match=text):
        printing(code).rate()


def test_a_missing_command_is_an_error() -> None:
    with pytest.raises(RunFailed, match="nothing-here"):
        Peer.parse("other=/nothing-here").rate()

"""Rates with a simulated clock, order of the timings, peers, golden medians and ratios."""

import sys
from functools import partial

import numpy as np
import pytest
import torch

from dwm_ray.benchmarks import measure
from dwm_ray.benchmarks.measure import Timed, Workload, alternating, paired_ratio, parse_peer, rate_spread
from dwm_ray.runs.folder import RunFailed

CPU = torch.device("cpu")


class Clock:
    """A clock that only `advance` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.calls += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_rate_counts_units_and_a_burst_has_the_configured_length(clock: Clock) -> None:
    work = Workload("a", lambda: lambda: clock.advance(0.01), units=5)
    timed = Timed(work, CPU, burst_s=1.0)
    assert timed.num_calls in (100, 101)  # sums of .01 are not exact
    before = clock.calls
    assert timed.rate() == pytest.approx(500)
    assert clock.calls - before == timed.num_calls


def test_work_longer_than_a_burst_is_called_once(clock: Clock) -> None:
    timed = Timed(Workload("a", lambda: lambda: clock.advance(9.0)), CPU, burst_s=1.0)
    assert timed.num_calls == 1
    assert timed.rate() == pytest.approx(1 / 9)


def test_the_first_call_is_not_counted(clock: Clock) -> None:
    calls = iter([100.0])  # it compiles

    timed = Timed(Workload("a", lambda: lambda: clock.advance(next(calls, 0.1))), CPU, burst_s=1.0)
    assert timed.num_calls in (10, 11)
    assert timed.rate() == pytest.approx(10)


def test_the_cpu_clock_ignores_other_processes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Clock()
    monkeypatch.setattr(measure.time, "process_time", lambda: mine.now)

    def call() -> None:
        clock.advance(0.5)
        mine.advance(0.1)

    assert Timed(Workload("a", lambda: call), CPU, 1.0, "cpu").rate() == pytest.approx(10)
    assert Timed(Workload("a", lambda: call), CPU, 1.0, "wall").rate() == pytest.approx(2)


def test_repeats_alternate_the_order() -> None:
    order: list[str] = []

    def measured(name: str) -> float:
        order.append(name)
        return float(len(order))

    reported: list[str] = []
    rates = alternating({name: partial(measured, name) for name in "abc"}, 2, reported.append)
    assert order == ["a", "b", "c", "c", "b", "a"]
    assert rates == {"a": [1, 6], "b": [2, 5], "c": [3, 4]}
    assert reported == ["repeat 1 of 2", "repeat 2 of 2"]


def test_golden_spread() -> None:
    assert rate_spread([3.0, 9.0, 4.0]) == {"median": 4.0, "low": 3.0, "high": 9.0}


def test_ratios_are_paired() -> None:
    drift = np.array([1.0, 10.0, 2.0, 7.0, 5.0])
    assert paired_ratio(list(3 * drift), list(drift)) == {"median": 3.0, "low": 3.0, "high": 3.0}
    shuffled = drift[[1, 2, 3, 4, 0]]
    assert paired_ratio(list(3 * shuffled), list(drift))["median"] == np.median(3 * shuffled / drift) != 3


def test_the_interval_contains_the_ratio_grows_with_noise_and_is_deterministic() -> None:
    rng = np.random.default_rng(1)
    quiet, loud = (paired_ratio(list(2 * np.exp(scale * rng.normal(size=15))), [1.0] * 15) for scale in (0.01, 0.3))
    for ratio in (quiet, loud):
        assert ratio["low"] <= ratio["median"] <= ratio["high"]
    assert quiet["high"] - quiet["low"] < (loud["high"] - loud["low"]) / 5
    assert quiet["low"] == pytest.approx(2, rel=0.02)
    assert paired_ratio([1.0, 2.0, 4.0], [1.0] * 3) == paired_ratio([1.0, 2.0, 4.0], [1.0] * 3)


def test_the_interval_is_the_bootstrap_of_the_median() -> None:
    ratios = [1.0, 2.0, 4.0]
    medians = sorted(float(np.median([a, b, c])) for a in ratios for b in ratios for c in ratios)
    assert medians.count(1.0) / len(medians) > 0.025  # 7 of 27 resamples, so the interval reaches both ends
    assert paired_ratio(ratios, [1.0] * 3) == {"median": 2.0, "low": 1.0, "high": 4.0}


def printed(code: str) -> float:
    return parse_peer(f'other={sys.executable} -c "{code}"')[1]()


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
    assert printed(f"print({text})") == rate


def test_a_command_runs_without_a_shell() -> None:
    name, rate = parse_peer("corl=python run.py --env 'Half Cheetah' x=1")
    assert rate.args == (name, ["python", "run.py", "--env", "Half Cheetah", "x=1"])
    assert parse_peer(f"a={sys.executable} -c 'import sys; print(len(sys.argv))' $HOME *")[1]() == 3


@pytest.mark.parametrize("text", ["corl", "corl=", "=python"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected NAME=COMMAND"):
        parse_peer(text)


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
        printed(code)


def test_a_missing_command_is_an_error() -> None:
    with pytest.raises(RunFailed, match="nothing-here"):
        parse_peer("other=/nothing-here")[1]()

"""Rates with a simulated clock, and the order of the timings."""

import pytest
import torch

from dwm_ray.benchmarks import measure
from dwm_ray.benchmarks.measure import Stopwatch, Timed, Workload, alternating

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
    timed = Timed(work, Stopwatch(CPU, burst_s=1.0))
    assert timed.num_calls in (100, 101)  # sums of .01 are not exact
    before = clock.calls
    assert timed.rate() == pytest.approx(500)
    assert clock.calls - before == timed.num_calls


def test_work_longer_than_a_burst_is_called_once(clock: Clock) -> None:
    timed = Timed(Workload("a", lambda: lambda: clock.advance(9.0)), Stopwatch(CPU, burst_s=1.0))
    assert timed.num_calls == 1
    assert timed.rate() == pytest.approx(1 / 9)


def test_the_first_call_is_not_counted(clock: Clock) -> None:
    calls = iter([100.0])  # it compiles

    timed = Timed(Workload("a", lambda: lambda: clock.advance(next(calls, 0.1))), Stopwatch(CPU, burst_s=1.0))
    assert timed.num_calls in (10, 11)
    assert timed.rate() == pytest.approx(10)


def test_the_cpu_clock_ignores_other_processes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Clock()
    monkeypatch.setattr(measure.time, "process_time", lambda: mine.now)

    def call() -> None:
        clock.advance(0.5)
        mine.advance(0.1)

    assert Timed(Workload("a", lambda: call), Stopwatch(CPU, 1.0, "cpu")).rate() == pytest.approx(10)
    assert Timed(Workload("a", lambda: call), Stopwatch(CPU, 1.0, "wall")).rate() == pytest.approx(2)


def test_repeats_alternate_the_order() -> None:
    order: list[str] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def rate(self) -> float:
            order.append(self.name)
            return float(len(order))

    reported: list[int] = []
    rates = alternating([Fake("a"), Fake("b"), Fake("c")], 2, reported.append)
    assert order == ["a", "b", "c", "c", "b", "a"]
    assert rates == {"a": [1, 6], "b": [2, 5], "c": [3, 4]}
    assert reported == [1, 2]

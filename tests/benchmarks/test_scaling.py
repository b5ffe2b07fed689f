"""Scaling of samplers: options and efficiencies."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dwm_ray.benchmarks.suites.scaling import HEADERS, Scaling, cells


@dataclass(frozen=True)
class Fake:
    per_s: float
    per_cpu_s: float


def test_efficiency_is_the_rate_over_that_of_as_many_single_samplers() -> None:
    first, second = cells({1: [Fake(100, 50), Fake(200, 50)], 2: [Fake(150, 40), Fake(300, 40)]})
    assert len(first) == len(second) == len(HEADERS)
    assert (first[0], first[3], first[6]) == ("1", "1.00", "1.00")
    assert (second[0], second[1], second[3], second[6]) == ("2", "225", "0.75", "0.80")


def test_the_run_has_the_configured_sizes() -> None:
    config = Scaling(num_segments=4096, block_rows=128).config("hopper-medium", "file.hdf5")
    assert (config.task, config.data.file) == ("hopper-medium", "file.hdf5")
    assert (config.synthesis.num_segments, config.synthesis.block_rows) == (4096, 128)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"samplers": (0, 1)}, "--samplers"),
        ({"samplers": (1, 1)}, "--samplers 1 1: expected different numbers"),
        ({"num_segments": 4096}, "--num-segments: expected at least 4 blocks"),
    ],
)
def test_invalid_values_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Scaling(**options).check()  # type: ignore[arg-type]

"""Progress and remaining time of phases and of the whole run."""

import pytest

from dwm_ray.experiment.phases import Phase
from dwm_ray.experiment.remaining import Resources, estimate_progress


def trial(done: int, seconds: float | None, running: bool = True, members: int = 1) -> Phase:
    return Phase("learner", "t", running, done, 100, seconds, members)


def model(done: int, seconds: float | None) -> Phase:
    return Phase("world model", "m", done < 100, done, 100, seconds)


def test_a_phase_ends_at_its_speed_so_far() -> None:
    phase = trial(25, 10.0)
    assert (phase.fraction, phase.cost_s, phase.remaining_s) == (0.25, 40.0, 30.0)
    assert trial(0, None).remaining_s is None
    assert Phase("learner", "t", False, 100, 100, 40.0).remaining_s is None, "it has ended"
    assert Phase("world model", "m", True, 5, None, 3.0).fraction is None


def test_a_member_of_a_population_takes_the_time_of_all_members() -> None:
    assert trial(25, 10.0, members=4).remaining_s == 120.0
    assert estimate_progress([trial(25, 10.0, members=4)] * 4, 4).remaining_s == 120.0


def test_trials_that_have_not_begun_cost_what_the_others_cost() -> None:
    total = estimate_progress([trial(50, 50.0), trial(0, None, running=False)], 4)
    assert total.fraction == pytest.approx(50 / 400)
    assert total.remaining_s == 350.0


def test_a_trial_that_has_not_begun_costs_what_its_method_costs() -> None:
    slow, fast = (Phase("learner", label, True, 50, 100, cost / 2) for label, cost in (("IQL", 300.0), ("BC", 100.0)))
    waiting = Phase("learner", "IQL", False, 0, 100, None)
    assert estimate_progress([slow, fast, waiting], 3, Resources(2)).remaining_s == 50 + 300, "after the fast one"


def test_phases_that_run_at_once_share_the_remaining_work() -> None:
    total = estimate_progress([trial(50, 50.0), trial(50, 50.0)], 4, Resources(2))
    assert total.remaining_s == pytest.approx(300 / 2)
    assert estimate_progress([trial(90, 90.0), trial(10, 10.0)], 2, Resources(2)).remaining_s == 90.0, (
        "the longest phase"
    )


def test_kinds_of_phases_are_weighted_by_their_cost() -> None:
    total = estimate_progress([model(100, 300.0), trial(50, 50.0)], 1)
    assert total.fraction == pytest.approx(350 / 400)
    assert total.remaining_s == 50.0


def test_the_remaining_time_is_unknown_before_a_kind_has_a_speed_and_0_at_the_end() -> None:
    assert estimate_progress([model(50, 30.0)], 2).remaining_s is None
    assert 0 < estimate_progress([model(50, 30.0)], 2).fraction < 1
    total = estimate_progress([model(100, 30.0), Phase("learner", "t", False, 100, 100, 10.0)], 1)
    assert (total.fraction, total.remaining_s) == (1.0, 0.0)
    assert estimate_progress([model(100, None), trial(50, 10.0)], 1).remaining_s == 10.0, "the world model is trained"
    assert (estimate_progress([], 0).fraction, estimate_progress([], 0).remaining_s) == (0.0, None)

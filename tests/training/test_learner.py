"""The learner: means, populations against single agents, exact resume."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from learners import agent_of, mixture
from torch import Tensor

from dwm_ray.training.learner import Learner

SHARED = ("num_members", "updates_per_s")


def learner(name: str, *seeds: int) -> Learner:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return Learner([agent_of(name, seed) for seed in seeds], [mixture(False)] * len(seeds), generators)


def run(trained: Learner, num_updates: int) -> list[dict[str, float]]:
    """Rows of metrics without numbers that differ between runs."""
    return [{k: v for k, v in row.items() if k not in SHARED} for row in trained.run(num_updates)]


def scripted(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, float]]) -> Learner:
    """A learner whose updates report prepared metrics."""
    trained, prepared = learner("bc", 0), iter(rows)

    def learn(*args: Any) -> dict[str, Tensor]:
        return {name: torch.tensor([value]) for name, value in next(prepared).items()}

    monkeypatch.setattr(trained.population, "learn", learn)
    return trained


def test_means_are_over_the_updates_that_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Iterator[dict[str, float]] = iter([{"q": 1.0}, {"q": 3.0, "actor": 8.0}, {"q": 5.0}, {"q": 7.0}])
    trained = scripted(monkeypatch, list(rows))
    assert run(trained, 3) == [{"q": 3.0, "actor": 8.0}]
    assert run(trained, 1) == [{"q": 7.0}]
    assert trained.update == 4


def test_members_have_rows_of_their_own_also_before_the_first_update() -> None:
    assert run(learner("td3_bc", 0, 1), 0) == [{}, {}]


def test_resume_before_the_first_update() -> None:
    straight, resumed = learner("td3_bc", 0), learner("td3_bc", 9)
    resumed.run(3)
    resumed.load_state_dicts(straight.state_dicts())
    assert run(resumed, 3) == run(straight, 3)


def test_a_state_with_a_missing_part_is_refused() -> None:
    trained = learner("td3_bc", 0)
    trained.run(2)
    [state] = trained.state_dicts()
    del state["optimizer.critic.0.exp_avg"]
    with pytest.raises(ValueError, match=r"'critic.0.exp_avg': found nothing; expected shape \[2, 5, 16\]"):
        trained.load_state_dicts([state])


def test_batches_of_different_shapes_are_refused() -> None:
    sources = [mixture(imagined=True), mixture(imagined=False)]
    with pytest.raises(ValueError, match=r"training\.batch_size, synthesis\.horizon: expected batches of one shape"):
        Learner([agent_of("td3_bc", seed) for seed in (0, 1)], sources, [torch.Generator()] * 2)


def test_states_of_different_updates_are_refused() -> None:
    alone = [learner("td3_bc", seed) for seed in (0, 1)]
    alone[1].run(3)
    with pytest.raises(ValueError, match=r"are at updates \[0, 3\]; expected one update"):
        learner("td3_bc", 0, 1).load_state_dicts([single.state_dicts()[0] for single in alone])


def test_an_optimizer_step_is_at_most_eight_frames_below_run(monkeypatch: pytest.MonkeyPatch) -> None:
    depths = []

    def step(optimizer: Any, *args: Any) -> None:
        import inspect

        names = [frame.function for frame in inspect.stack() if "dwm_ray" in frame.filename]
        depths.append(names.index("run") + 2)  # from `run` to `step`, both counted

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    learner("td3_bc", 0).run(2)
    assert max(depths) <= 8

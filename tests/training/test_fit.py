"""The loop around the trainer: log lines, and models that say when training on would not pay."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
import torch
from random_walks import SPACES, episodes
from torch import nn

from dwm_ray.data.windows import WindowSet
from dwm_ray.training.fit import fit
from dwm_ray.training.world_model import AverageGradients, WorldModelTrainer
from dwm_ray.types import Windows
from dwm_ray.world_models.one_step import OneStep, OneStepConfig


def trainer(rank: int = 0, average: AverageGradients | None = None, **options: object) -> WorldModelTrainer:
    sizes = {"width": 8, "num_layers": 1, "batch_size": 16, "num_updates": 80, "ensemble_size": 2, "num_elites": 1}
    model = OneStep(OneStepConfig.model_validate({**sizes, **options}), SPACES)
    model.fit_normalizers(episodes(0))
    train, holdout = (WindowSet(episodes(seed), 2, 0.99, 1.0) for seed in (0, 1))
    return WorldModelTrainer(model, train, holdout, torch.Generator().manual_seed(rank), average)


def rows_of(run: WorldModelTrainer, num_updates: int = 80) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    fit(run, num_updates, rows.append)
    return rows


STUCK = {"learning_rate": 1e-9, "patience": 3}


def test_forty_rows_without_an_early_end() -> None:
    rows = rows_of(trainer(patience=100))
    assert [row["update"] for row in rows] == list(range(2, 82, 2))
    assert not any("stopped_early" in row for row in rows)
    assert {"loss", "holdout_loss", "seconds"} <= rows[0].keys()


def test_training_ends_when_no_member_improves_and_the_row_says_so() -> None:
    """The first look is always an improvement; three more without one are the patience."""
    run = trainer(**STUCK)
    rows = rows_of(run)
    assert [row["update"] for row in rows] == [2, 4, 6, 8]
    assert [row.get("stopped_early") for row in rows] == [None, None, None, 1.0]
    assert run.update == 8


def test_a_run_that_ends_with_its_last_update_did_not_end_early() -> None:
    rows = rows_of(trainer(**STUCK, num_updates=4), 4)
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert "stopped_early" not in rows[-1]


@pytest.mark.parametrize("cut_at", [4, 8])
def test_a_resumed_run_ends_where_the_whole_one_does(cut_at: int) -> None:
    whole, cut = trainer(**STUCK), trainer(**STUCK)
    states: dict[int, dict[str, torch.Tensor]] = {}

    def save(row: dict[str, float]) -> None:
        states[cut.update] = {key: value.clone() for key, value in cut.state_dict().items()}

    fit(cut, 80, save)
    resumed = trainer(rank=5, **STUCK)
    resumed.load_state_dict(states[cut_at])
    rows_of(whole)
    rows = rows_of(resumed)
    assert [row["update"] for row in rows] == list(range(cut_at + 2, 10, 2))
    expected, got = whole.averaged.state_dict(), resumed.averaged.state_dict()
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []


def test_workers_stop_together_without_a_message() -> None:
    """Two workers with windows of their own, gradients averaged over both: the same answer at the same update."""
    barrier, shared = Barrier(2), {}

    def averaging(rank: int) -> AverageGradients:
        def average(params: list[nn.Parameter]) -> None:
            shared[rank] = [param.grad.clone() for param in params if param.grad is not None]
            barrier.wait(60)
            means = [(first + second) / 2 for first, second in zip(shared[0], shared[1], strict=True)]
            barrier.wait(60)
            for param, mean in zip(params, means, strict=True):
                param.grad = mean

        return average

    runs = [trainer(rank, averaging(rank), patience=2, learning_rate=1e-2) for rank in (0, 1)]
    rows: dict[int, list[dict[str, float]]] = {}
    threads = [Thread(target=lambda rank=rank: rows.__setitem__(rank, rows_of(runs[rank]))) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [row["update"] for row in rows[0]] == [row["update"] for row in rows[1]]
    assert rows[0][-1]["stopped_early"] == rows[1][-1]["stopped_early"] == 1.0
    assert rows[0][-1]["loss"] != rows[1][-1]["loss"]
    pairs = zip(runs[0].averaged.parameters(), runs[1].averaged.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_best_weights_are_what_is_published(ema_decay: float) -> None:
    """The averaged model, asked for after the end, still has the weights of its best look at held-out windows."""
    run = trainer(ema_decay=ema_decay, patience=100)
    errors: list[torch.Tensor] = []

    def spoil(row: dict[str, float]) -> None:
        errors.append(run.averaged.best.error.clone())  # type: ignore[operator, union-attr]
        with torch.no_grad():
            for param in run.model.parameters():
                param.mul_(2.0)

    fit(run, 8, spoil)
    windows: Windows = run._holdout_windows()
    before = run.averaged.best.error.clone()  # type: ignore[operator, union-attr]
    run.averaged.observe(windows)
    assert torch.equal(before, run.averaged.best.error)  # type: ignore[union-attr]
    mean, _ = run.averaged._predict(windows.obs[:, 0], windows.act[:, 0])  # type: ignore[operator]
    error = (run.averaged._target(windows) - mean).square()  # type: ignore[operator]
    mask = (windows.step_mask[:, 0] & windows.obs_mask[:, 1]).float()
    for member in range(2):
        now = (error[member].mean(1) * mask).sum() / mask.sum()
        torch.testing.assert_close(now, errors[-1].minimum(before)[member], rtol=1e-4, atol=1e-6)

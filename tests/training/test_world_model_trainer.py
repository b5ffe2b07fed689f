from pathlib import Path
from threading import Barrier, Thread

import pytest
import torch
from random_walks import SPACES, episodes
from torch import nn

from dwm_ray.data.windows import WindowSet
from dwm_ray.runs import tensor_files
from dwm_ray.training.fit_world_model import fit
from dwm_ray.training.world_model import AverageGradients, WorldModelTrainer
from dwm_ray.types import Windows
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.one_step import OneStep, OneStepConfig


def trainer(kind: str = "dwm", average_gradients: object = None, **options: object) -> WorldModelTrainer:
    tiny = {"batch_size": 16, "num_updates": 40, "learning_rate": 1e-2, "ema_every": 3, **options}
    if kind == "dwm":
        sizes = {"dim": 8, "multipliers": (1, 2), "sequence_length": 4}
        model = DWM(DWMConfig.model_validate({**sizes, **tiny}), SPACES)
    else:
        model = OneStep(OneStepConfig.model_validate({"width": 8, "num_layers": 1, **tiny}), SPACES)
    model.fit_normalizers(episodes(0))
    sets = [WindowSet(episodes(seed), model.sequence_length, 0.99, 10.0) for seed in (0, 1)]
    return WorldModelTrainer(model, *sets, torch.Generator().manual_seed(0), average_gradients)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["dwm", "one_step"])
def test_resume_is_exact(kind: str, tmp_path: Path) -> None:
    whole, first, second = trainer(kind), trainer(kind), trainer(kind, seed=9)
    whole.run(20)
    first.run(10)
    tensor_files.save(tmp_path, "trainer", first.state_dict(), {})
    second.load_state_dict(tensor_files.load(tmp_path, "trainer")[0])
    assert second.update == 10
    second.run(10)
    expected, got = whole.state_dict(), second.state_dict()
    assert expected.keys() == got.keys()
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []


def test_training_lowers_the_loss_on_both_sets() -> None:
    run = trainer("one_step", num_updates=200)
    held_out = run.holdout_loss()
    first = run.run(10)["loss"]
    last = [run.run(10)["loss"] for _ in range(19)][-1]
    assert run.update == 200
    assert last < first - 0.1
    assert run.holdout_loss() < held_out - 0.1
    assert run.holdout_loss() == run.holdout_loss()


def test_the_average_follows_its_recursion_and_is_no_alias() -> None:
    run = trainer(ema_decay=0.2, ema_every=2)
    expected = [param.detach().clone() for param in run.averaged.parameters()]
    for due in (False, True, False, True):
        run.run(1)
        if due:  # warm-up (1 + age) / (10 + age): 2/11, then the configured .2
            decay = min(0.2, (1 + run.update // 2) / (10 + run.update // 2))
            current = run.model.parameters()
            expected = [decay * old + (1 - decay) * new.detach() for old, new in zip(expected, current, strict=True)]
        for ours, theirs in zip(run.averaged.parameters(), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_decay_zero_means_the_last_weights() -> None:
    run = trainer(ema_decay=0.0, ema_every=1000)
    run.run(3)
    for ours, theirs in zip(run.averaged.parameters(), run.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_learning_rate_falls_along_a_half_cosine() -> None:
    run = trainer(final_learning_rate=0.1, num_updates=40)
    rates = []
    for update in (0, 20, 40, 60):
        run.update = update
        rates.append(run._learning_rate())
    assert rates == pytest.approx([1e-2, 0.55e-2, 1e-3, 1e-3])


def test_workers_can_average_their_gradients() -> None:
    seen: list[int] = []

    def discard(params: list[nn.Parameter]) -> None:
        seen.append(len(params))
        for param in params:
            assert param.grad is not None
            param.grad.zero_()

    run = trainer(average_gradients=discard)
    before = [param.detach().clone() for param in run.model.parameters()]
    run.run(2)
    assert seen == [len(before)] * 2
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_finish_lets_the_averaged_model_choose_its_elites() -> None:
    run = trainer("one_step")
    run.run(5)
    with torch.no_grad():
        run.averaged.net.layers[-1].bias[0] += 10.0  # type: ignore[union-attr, index, operator]
    run.finish()
    assert 0 not in run.averaged.elite.tolist()  # type: ignore[operator, union-attr]


def trainer_fit(rank: int = 0, average: AverageGradients | None = None, **options: object) -> WorldModelTrainer:
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
    rows = rows_of(trainer_fit(patience=100))
    assert [row["update"] for row in rows] == list(range(2, 82, 2))
    assert not any("stopped_early" in row for row in rows)
    assert {"loss", "holdout_loss", "seconds"} <= rows[0].keys()


def test_training_ends_when_no_member_improves_and_the_row_says_so() -> None:
    """The first look is always an improvement; three more without one are the patience."""
    run = trainer_fit(**STUCK)
    rows = rows_of(run)
    assert [row["update"] for row in rows] == [2, 4, 6, 8]
    assert [row.get("stopped_early") for row in rows] == [None, None, None, 1.0]
    assert run.update == 8


def test_a_run_that_ends_with_its_last_update_has_not_stopped_early() -> None:
    rows = rows_of(trainer_fit(**STUCK, num_updates=4), 4)
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert "stopped_early" not in rows[-1]


@pytest.mark.parametrize("cut_at", [4, 8])
def test_a_resumed_run_ends_where_the_whole_one_does(cut_at: int) -> None:
    whole, cut = trainer_fit(**STUCK), trainer_fit(**STUCK)
    states: dict[int, dict[str, torch.Tensor]] = {}

    def save(row: dict[str, float]) -> None:
        states[cut.update] = {key: value.clone() for key, value in cut.state_dict().items()}

    fit(cut, 80, save)
    resumed = trainer_fit(rank=5, **STUCK)
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

    runs = [trainer_fit(rank, averaging(rank), patience=2, learning_rate=1e-2) for rank in (0, 1)]
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
    run = trainer_fit(ema_decay=ema_decay, patience=100)
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

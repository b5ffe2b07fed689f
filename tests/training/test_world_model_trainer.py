from pathlib import Path

import pytest
import torch
from random_walks import SPACES, episodes
from torch import nn

from dwm_ray.data.windows import WindowSet
from dwm_ray.runs import tensor_files
from dwm_ray.training.world_model import WorldModelTrainer
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

import numpy as np
import pytest
import torch
from toy import generator, toy_episodes

from dwm_ray.types import Spaces
from dwm_ray.world_models.parts.inverse_dynamics import InverseDynamics

SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, 0.0), act_high=(1.0, 4.0))
TOY = toy_episodes()


def build(spaces: Spaces = SPACES, dropout: float = 0.0, width: int = 8) -> InverseDynamics:
    torch.manual_seed(0)
    model = InverseDynamics(spaces, num_members=3, width=width, dropout=dropout)
    model.fit_normalizers(TOY)
    return model


def pairs(rows: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(TOY.obs[:rows]), torch.from_numpy(TOY.next_obs[:rows])


def test_each_member_is_a_network_of_the_state_and_its_change() -> None:
    model, (obs, next_obs) = build(), pairs()
    change = TOY.next_obs - TOY.obs
    inputs = [(obs.numpy() - TOY.obs.mean(0)) / TOY.obs.std(0), (change[:16] - change.mean(0)) / change.std(0)]
    for member, got in enumerate(model(obs, next_obs).detach().numpy()):
        x = np.concatenate(inputs, 1)
        for number, layer in enumerate(model.layers):
            x = x @ layer.weight[member].detach().numpy() + layer.bias[member].detach().numpy()
            x = np.maximum(x, 0) if number < 2 else np.tanh(x)
        np.testing.assert_allclose(got, x, atol=3e-3)  # the normaliser adds 1e-3 to deviations


def test_actions_are_the_members_mean_within_the_tasks_bounds() -> None:
    model = build()
    unit = torch.tensor([[[-1.0, -1.0], [1.0, 0.0]], [[-1.0, -1.0], [0.0, 1.0]]])  # [E, B, A]
    torch.testing.assert_close(model.actions(unit), torch.tensor([[-1.0, 0.0], [0.5, 3.0]]))
    extreme = model.actions(model(pairs()[0] * 1e4, pairs()[1] * -1e4))
    assert ((extreme >= torch.tensor(SPACES.act_low)) & (extreme <= torch.tensor(SPACES.act_high))).all()


def test_loss_golden_and_masked() -> None:
    model, (obs, next_obs) = build(), pairs()
    act = torch.rand(16, 2, generator=generator()) * torch.tensor([2.0, 4.0]) + torch.tensor([-1.0, 0.0])
    mask = torch.arange(16) < 5
    got = model.loss(obs, act, next_obs, mask, None)
    unit = (act - torch.tensor([0.0, 2.0])) / torch.tensor([1.0, 2.0])
    members = model(obs, next_obs)
    expected = torch.stack([(member[:5] - unit[:5]).square().mean() for member in members]).mean()
    torch.testing.assert_close(got, expected)
    assert model.loss(obs, act, next_obs, torch.zeros(16).bool(), None) == 0


def test_dropout_hides_its_share_by_the_generator_only_and_keeps_the_mean() -> None:
    model, (obs, next_obs) = build(dropout=0.25, width=256), pairs(1)
    seen: list[torch.Tensor] = []
    model.layers[1].register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    obs, next_obs = obs.expand(400, -1), next_obs.expand(400, -1)
    model(obs, next_obs)
    plain = seen.pop()
    first = model(obs, next_obs, generator())
    hidden = seen.pop()
    alive = plain > 0
    assert float((hidden[alive] == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(hidden.mean(1), plain.mean(1), atol=0.05, rtol=0.25)
    torch.manual_seed(9)
    assert torch.equal(first, model(obs, next_obs, generator()))
    assert not torch.equal(first, model(obs, next_obs, generator(1)))


def test_it_learns_which_action_led_to_the_next_state() -> None:
    model = build(TOY.spaces, width=32)
    obs, act, next_obs = (torch.from_numpy(part) for part in (TOY.obs, TOY.act, TOY.next_obs))
    adam, ones, rng = torch.optim.Adam(model.parameters(), 1e-2), torch.ones(128), generator()
    for _ in range(150):
        rows = torch.randint(800, (128,), generator=rng)
        adam.zero_grad()
        model.loss(obs[rows], act[rows], next_obs[rows], ones, generator()).backward()
        adam.step()
    with torch.no_grad():
        error = model.actions(model(obs[800:], next_obs[800:])) - act[800:]
    assert float(error.square().mean()) < 0.05 * float(act.var())

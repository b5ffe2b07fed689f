"""Adam's steps are torch's, without torch's compiler."""

import subprocess
import sys

import torch
from torch import nn

from dwm_ray.agents.parts.optimizer import STATE, Adam, fused_adam, set_rate


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 70), nn.Linear(70, 2))


def test_steps_are_those_of_torch_bit_for_bit() -> None:
    """Two groups, one of which changes its rate; a parameter that has no gradient at first."""
    ours, theirs = two_layers(), two_layers()
    adam = fused_adam(3e-3, *ours)
    reference = torch.optim.Adam([{"params": list(layer.parameters())} for layer in theirs], lr=3e-3, fused=True)
    for update in range(5):
        rows = torch.randn(8, 3)
        if update == 3:
            set_rate(adam, 1, 1e-3)
            reference.param_groups[1]["lr"] = torch.tensor(1e-3, dtype=torch.float64)
        for net, optimizer in ((ours, adam), (theirs, reference)):
            net(rows).square().mean().backward()
            if update == 0:
                net[1].bias.grad = None
            optimizer.step()
            net.zero_grad()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)
        for name in STATE:
            torch.testing.assert_close(adam.state[own][name], reference.state[other][name], rtol=0, atol=0)


def test_an_update_does_not_import_the_compiler() -> None:
    source = """
import sys, torch
from dwm_ray.agents.parts.optimizer import descend, fused_adam
net = torch.nn.Linear(2, 1)
descend(fused_adam(0.1, net), net(torch.ones(1, 2)).sum())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", "importing it takes a second in every process"


def test_a_group_without_gradients_is_skipped() -> None:
    weight = torch.ones(2)
    Adam(0.1, [weight]).step()
    assert weight.tolist() == [1.0, 1.0]

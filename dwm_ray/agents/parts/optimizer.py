"""Adam as one fused kernel a step, and its state as named tensors, so that a resumed run takes the same steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

STATE = ("step", "exp_avg", "exp_avg_sq")


def fused_adam(learning_rate: float, *groups: nn.Module) -> torch.optim.Adam:
    """Adam over modules; each is a parameter group of its own."""
    parts = [{"params": list(module.parameters())} for module in groups]
    return torch.optim.Adam(parts, lr=learning_rate, fused=True)


def descend(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    """One step down a loss [], or of a population [P]: members share no weights, so each goes down its own. Only the
    optimiser's own parameters get gradients: an actor's loss that runs through a critic costs no gradient of the
    critic's weights."""
    params = _params(optimizer)
    grads = torch.autograd.grad(loss, params, torch.ones_like(loss))
    if torch.compiler.is_compiling():
        _step_of_operations(optimizer, grads)
        return
    recorded = _is_recorded(loss)
    for group in optimizer.param_groups:
        group["capturable"] = recorded  # torch asks for it, and warns of it anywhere else
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    optimizer.step()


@torch.no_grad()
def _step_of_operations(optimizer: torch.optim.Adam, grads: Sequence[Tensor]) -> None:
    """Adam's step written out, for a compiler that makes loops of it: the fused kernel is closed to it."""
    rest = iter(grads)
    for group in optimizer.param_groups:
        beta1, beta2 = group["betas"]
        for param in group["params"]:
            step, mean, square = (optimizer.state[param][name] for name in STATE)
            grad = next(rest)
            step += 1
            mean.lerp_(grad, 1 - beta1)
            square.lerp_(grad * grad, 1 - beta2)
            size = (square / (1 - beta2**step)).sqrt() + group["eps"]
            param -= group["lr"] / (1 - beta1**step) * mean / size


def _is_recorded(x: Tensor) -> bool:
    """Is a CUDA graph being recorded where `x` was made?"""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def set_rate(optimizer: torch.optim.Adam, group: int, rate: float) -> None:
    """Set the learning rate of a parameter group that changes as learning goes on. It is kept in memory that stays in
    place, for a CUDA graph reads it there: in the type of the device's kernel, which on a CPU makes the very steps that
    the number itself would make."""
    about = optimizer.param_groups[group]
    device = about["params"][0].device
    if isinstance(about["lr"], Tensor) and about["lr"].device == device:
        about["lr"].fill_(rate)
    else:
        about["lr"] = torch.tensor(rate, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)


@torch.no_grad()
def track(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Move a target network towards its source by the share `tau`, in place."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)


def with_target(make: Callable[[], Network]) -> tuple[Network, Network]:
    """A new network and its target: another one with the same weights and without gradients."""
    network, target = make(), make()
    target.load_state_dict(network.state_dict())
    return network, target.requires_grad_(False)


def adam_tensors(name: str, optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Moments and counters as 'name.INDEX.KEY'; empty before the first step."""
    params = enumerate(_params(optimizer))
    return {f"{name}.{i}.{key}": optimizer.state[p][key] for i, p in params if p in optimizer.state for key in STATE}


def load_adam_tensors(name: str, optimizer: torch.optim.Adam, state: dict[str, Tensor]) -> None:
    """Inverse of `adam_tensors`; ValueError where part of the state is missing or has another shape."""
    optimizer.state.clear()
    if not any(key.startswith(f"{name}.") for key in state):
        return
    for i, param in enumerate(_params(optimizer)):
        optimizer.state[param] = {key: _moment(state, f"{name}.{i}.{key}", param) for key in STATE}


def _moment(state: dict[str, Tensor], key: str, param: Tensor) -> Tensor:
    expected = torch.Size() if key.endswith(".step") else param.shape
    if key not in state or state[key].shape != expected:
        found = list(state[key].shape) if key in state else "nothing"
        raise ValueError(f"optimizer state {key!r}: found {found}, expected shape {list(expected)}")
    return state[key].to(param.device, copy=True)


def _params(optimizer: torch.optim.Adam) -> list[Tensor]:
    groups: Iterable[dict[str, list[Tensor]]] = optimizer.param_groups
    return [param for group in groups for param in group["params"]]

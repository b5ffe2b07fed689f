"""Adam with one fused kernel per step, its state as named tensors, and target networks."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

STATE = ("step", "exp_avg", "exp_avg_sq")


def fused_adam(learning_rate: float, *groups: nn.Module) -> torch.optim.Adam:
    """Return Adam over modules, each with its own parameter group."""
    param_groups = [{"params": list(module.parameters())} for module in groups]
    return torch.optim.Adam(param_groups, lr=learning_rate, fused=True)


def gradient_step(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    """Take one step on a loss [], or [P] of a population; only the optimiser's own parameters receive gradients."""
    params = _params(optimizer)
    grads = torch.autograd.grad(loss, params, torch.ones_like(loss))
    if torch.compiler.is_compiling():
        _unfused_step(optimizer, grads)
        return
    captured = _is_captured(loss)
    for group in optimizer.param_groups:
        group["capturable"] = captured  # torch requires it during capture and warns about it otherwise
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    optimizer.step()


@torch.no_grad()
def _unfused_step(optimizer: torch.optim.Adam, grads: Sequence[Tensor]) -> None:
    """Take Adam's step in single operations, which torch.compile can fuse with others, unlike the fused kernel."""
    remaining = iter(grads)
    for group in optimizer.param_groups:
        beta1, beta2 = group["betas"]
        for param in group["params"]:
            step, mean, square = (optimizer.state[param][name] for name in STATE)
            grad = next(remaining)
            step += 1
            mean.lerp_(grad, 1 - beta1)
            square.lerp_(grad * grad, 1 - beta2)
            size = (square / (1 - beta2**step)).sqrt() + group["eps"]
            param -= group["lr"] / (1 - beta1**step) * mean / size


def _is_captured(x: Tensor) -> bool:
    """Return whether a CUDA graph is being captured on the device of `x`."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def set_rate(optimizer: torch.optim.Adam, group: int, rate: float) -> None:
    """Set the learning rate of a parameter group in place, because CUDA graphs read its memory."""
    options = optimizer.param_groups[group]
    device = options["params"][0].device
    if isinstance(options["lr"], Tensor) and options["lr"].device == device:
        options["lr"].fill_(rate)
    else:
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        options["lr"] = torch.tensor(rate, dtype=dtype, device=device)


@torch.no_grad()
def polyak_update(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Move a target network towards its source by a fraction `tau`, in place."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)


def with_target(make: Callable[[], Network]) -> tuple[Network, Network]:
    """Return a new network and its target network, which has the same weights and no gradients."""
    network, target = make(), make()
    target.load_state_dict(network.state_dict())
    return network, target.requires_grad_(False)


def adam_tensors(name: str, optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """Return moments and step counters as 'name.INDEX.KEY'; empty before the first step."""
    params = enumerate(_params(optimizer))
    return {f"{name}.{i}.{key}": optimizer.state[p][key] for i, p in params if p in optimizer.state for key in STATE}


def load_adam_tensors(name: str, optimizer: torch.optim.Adam, state: dict[str, Tensor]) -> None:
    """Load `adam_tensors`; raise ValueError if part of the state is missing or has another shape."""
    optimizer.state.clear()
    if not any(key.startswith(f"{name}.") for key in state):
        return
    for i, param in enumerate(_params(optimizer)):
        optimizer.state[param] = {key: _moment(state, f"{name}.{i}.{key}", param) for key in STATE}


def _moment(state: dict[str, Tensor], key: str, param: Tensor) -> Tensor:
    expected = torch.Size() if key.endswith(".step") else param.shape
    if key not in state or state[key].shape != expected:
        actual = list(state[key].shape) if key in state else "nothing"
        raise ValueError(f"optimizer state {key!r}: found {actual}; expected shape {list(expected)}")
    return state[key].to(param.device, copy=True)


def _params(optimizer: torch.optim.Adam) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]

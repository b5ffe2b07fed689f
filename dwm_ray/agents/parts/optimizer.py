"""Adam with one fused kernel per step, its state as named tensors, and target networks."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

STATE = ("step", "exp_avg", "exp_avg_sq")
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980) with one fused kernel per parameter group.

    Steps are bit for bit those of `torch.optim.Adam(fused=True)`, whose constructor imports torch's compiler. That
    import takes a second of CPU time in every process.
    """

    def __init__(self, learning_rate: float, *groups: Iterable[Tensor]) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": [*params], "lr": learning_rate} for params in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Make one step; parameters without a gradient do not change."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            states = [self.state.get(param) or self._first_state(param) for param in params]
            steps, means, squares = ([state[name] for state in states] for name in STATE)
            torch._foreach_add_(steps, 1)
            options = {"lr": group["lr"], "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPSILON, "weight_decay": 0.0}
            gradients = [param.grad for param in params]
            torch._fused_adam_(params, gradients, means, squares, [], steps, **options, amsgrad=False, maximize=False)

    def _first_state(self, param: Tensor) -> dict[str, Tensor]:
        moments = torch.zeros_like(param), torch.zeros_like(param)
        self.state[param] = dict(zip(STATE, (torch.zeros((), device=param.device), *moments), strict=True))
        return self.state[param]


def fused_adam(learning_rate: float, *groups: nn.Module) -> Adam:
    """Return Adam over modules, each with its own parameter group."""
    return Adam(learning_rate, *(module.parameters() for module in groups))


def descend(optimizer: Adam, loss: Tensor) -> None:
    """Make one step on a loss [], or [P] of a population; only the optimiser's own parameters get gradients."""
    params = _params(optimizer)
    grads = torch.autograd.grad(loss, params, torch.ones_like(loss))
    if torch.compiler.is_compiling():
        _unfused_step(optimizer, grads)
        return
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    optimizer.step()


@torch.no_grad()
def _unfused_step(optimizer: Adam, grads: Sequence[Tensor]) -> None:
    """Make Adam's step from single operations, which torch.compile can fuse with others, unlike the fused kernel."""
    rest, (beta1, beta2) = iter(grads), BETAS
    for group in optimizer.param_groups:
        for param in group["params"]:
            step, mean, square = (optimizer.state[param][name] for name in STATE)
            grad = next(rest)
            step += 1
            mean.lerp_(grad, 1 - beta1)
            square.lerp_(grad * grad, 1 - beta2)
            size = (square / (1 - beta2**step)).sqrt() + EPSILON
            param -= group["lr"] / (1 - beta1**step) * mean / size


def set_rate(optimizer: Adam, group: int, rate: float) -> None:
    """Set the learning rate of a parameter group in place, because CUDA graphs read its memory."""
    options = optimizer.param_groups[group]
    device = options["params"][0].device
    if isinstance(options["lr"], Tensor) and options["lr"].device == device:
        options["lr"].fill_(rate)
    else:
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        options["lr"] = torch.tensor(rate, dtype=dtype, device=device)


@torch.no_grad()
def track(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Move a target network towards its source by the fraction `tau`, in place."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)


def with_target(make: Callable[[], Network]) -> tuple[Network, Network]:
    """Return a new network and its target network, which has the same weights and no gradients."""
    network, target = make(), make()
    target.load_state_dict(network.state_dict())
    return network, target.requires_grad_(False)


def adam_tensors(name: str, optimizer: Adam) -> dict[str, Tensor]:
    """Return moments and step counters as 'name.INDEX.KEY'; empty before the first step."""
    params = enumerate(_params(optimizer))
    return {f"{name}.{i}.{key}": optimizer.state[p][key] for i, p in params if p in optimizer.state for key in STATE}


def load_adam_tensors(name: str, optimizer: Adam, state: dict[str, Tensor]) -> None:
    """Load `adam_tensors`; raise ValueError if part of the state is missing or has another shape."""
    optimizer.state.clear()
    if not any(key.startswith(f"{name}.") for key in state):
        return
    for i, param in enumerate(_params(optimizer)):
        optimizer.state[param] = {key: _moment(state, f"{name}.{i}.{key}", param) for key in STATE}


def _moment(state: dict[str, Tensor], key: str, param: Tensor) -> Tensor:
    expected = torch.Size() if key.endswith(".step") else param.shape
    if key not in state or state[key].shape != expected:
        found = list(state[key].shape) if key in state else "nothing"
        raise ValueError(f"optimizer state {key!r}: found {found}; expected shape {list(expected)}")
    return state[key].to(param.device, copy=True)


def _params(optimizer: Adam) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]

"""CUDA graphs of a function: eager calls, recording and replay; the calls of torch; the emulation of a GPU."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from emulated_graphs import EmulatedCapture
from local_runs import train
from tiny_task import recording, tiny_config
from torch import Tensor

from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step
from dwm_ray.cuda_graphs import WARM_UPS, CudaCapture, Graphs, capture_on
from dwm_ray.devices import autocast, device_for, product_dtype
from dwm_ray.runs.folder import RunFolder


class Walk:
    """Adds noise to a state."""

    def __init__(self) -> None:
        self.state, self.generator = torch.zeros(3), torch.Generator().manual_seed(0)
        self.num_made = 0

    def step(self) -> Tensor:
        self.num_made += 1
        self.state += torch.randn(3, generator=self.generator)
        return self.state.sum()


def test_calls_run_eagerly_are_recorded_and_replayed() -> None:
    capture, plain, walk = EmulatedCapture(), Walk(), Walk()
    graphs: Graphs[Tensor] = Graphs(capture, [walk.generator], "x.y")
    for _ in range(WARM_UPS + 5):
        assert torch.equal(graphs(0, walk.step), plain.step())
    assert torch.equal(walk.state, plain.state)
    assert torch.equal(walk.generator.get_state(), plain.generator.get_state())
    assert (capture.num_eager, len(capture.tapes)) == (WARM_UPS, 1)
    assert walk.num_made == WARM_UPS + 1  # Python code runs while it is recorded, not in replays


def test_each_kind_has_a_graph_and_forget_drops_them() -> None:
    capture, walk = EmulatedCapture(), Walk()
    graphs: Graphs[Tensor] = Graphs(capture, [walk.generator], "x.y")
    for kind in (0, 1, 0, 1, 0, 1, 1, 0):
        graphs(kind, walk.step)
    assert (capture.num_eager, len(capture.tapes)) == (2 * WARM_UPS, 2)
    graphs.forget()
    for _ in range(WARM_UPS + 2):
        graphs(0, walk.step)
    assert (capture.num_eager, len(capture.tapes)) == (3 * WARM_UPS, 3)


def test_results_are_valid_until_the_next_call() -> None:
    walk = Walk()
    graphs: Graphs[Tensor] = Graphs(EmulatedCapture(), [walk.generator], "x.y")
    *_, first, second = [graphs(0, walk.step) for _ in range(WARM_UPS + 2)]
    assert first is second


class Broken(EmulatedCapture):
    """Fails, and then fails to end the recording, as torch does."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__()
        self._error = error

    def record(self, call: Any, generators: Any) -> Any:
        try:
            raise self._error
        finally:
            raise RuntimeError("capture invalidated")


def test_an_error_names_the_option_and_the_first_cause() -> None:
    graphs: Graphs[Tensor] = Graphs(Broken(RuntimeError("not\npermitted")), [], "x.y")
    with pytest.raises(
        ValueError, match=r"^x\.y: the call cannot be captured as a CUDA graph \(not permitted\); expected False$"
    ):
        [graphs(0, Walk().step) for _ in range(WARM_UPS + 1)]


def test_out_of_memory_errors_propagate() -> None:
    graphs: Graphs[Tensor] = Graphs(Broken(torch.OutOfMemoryError("full")), [], "x.y")
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        [graphs(0, Walk().step) for _ in range(WARM_UPS + 1)]


def test_a_device_without_graphs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^x\.y: CUDA graphs need a GPU, not device cpu; expected False"):
        capture_on(torch.device("cpu"), "x.y")


@pytest.mark.parametrize("option", ["execution.cuda_graphs", "execution.sampler_cuda_graphs"])
def test_a_run_without_a_gpu_is_refused_before_it_trains(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = tiny_config(recording(tmp_path / "pendulum.hdf5")).with_values({option: True})
    with pytest.raises(ValueError, match=rf"^{option}: CUDA graphs need a GPU"):
        train(config, RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert device_for(config.with_values({option: False})) == torch.device("cpu")


class Cuda:
    """Stand-in for torch.cuda that logs the calls of `CudaCapture` and checks that torch accepts their arguments."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._real = torch.cuda
        cuda = self

        class Stream:
            def __init__(self, device: torch.device, name: str = "side") -> None:
                self.name = name

            def wait_stream(self, other: Any) -> None:
                cuda.calls.append(f"{self.name} waits for {other.name}")

        class CUDAGraph:
            def register_generator_state(self, generator: torch.Generator) -> None:
                cuda.calls.append("register")

            def replay(self) -> None:
                cuda.calls.append("replay")

        self.Stream, self.CUDAGraph = Stream, CUDAGraph

    def current_stream(self, device: torch.device) -> Any:
        return self.Stream(device, "main")

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.calls.append(f"on {stream.name}")
        yield
        self.calls.append(f"off {stream.name}")

    @contextmanager
    def graph(self, *args: Any, **how: Any) -> Iterator[None]:
        inspect.signature(self._real.graph).bind(*args, **how)
        self.calls.append(f"begin on {how['stream'].name}, {how['capture_error_mode']}")
        yield
        self.calls.append("end")


def test_torch_is_called_in_the_required_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(torch.cuda.CUDAGraph, "replay")
    cuda = Cuda()
    for name in ("Stream", "CUDAGraph", "current_stream", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    capture, generators = CudaCapture(torch.device("cuda")), [torch.Generator(), torch.Generator()]
    assert capture.run_eagerly(lambda: cuda.calls.append("call")) is None
    assert cuda.calls == ["side waits for main", "on side", "call", "off side", "main waits for side"]
    cuda.calls.clear()
    _, replay = capture.record(lambda: cuda.calls.append("call"), generators)
    replay()
    assert cuda.calls == ["register", "register", "begin on side, thread_local", "call", "end", "replay"]


@pytest.mark.parametrize("recorded", [False, True])
def test_adam_is_capturable_only_while_it_is_recorded(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch refuses to record other optimisers, and warns of capturable ones outside a recording."""
    monkeypatch.setattr("dwm_ray.agents.parts.optimizer._is_captured", lambda x: recorded)
    net = torch.nn.Linear(2, 1)
    optimizer, said = fused_adam(0.1, net), []
    optimizer.register_step_pre_hook(lambda own, *_: said.append([group["capturable"] for group in own.param_groups]))
    gradient_step(optimizer, net(torch.ones(1, 2)).sum())
    assert said == [[recorded]]


def test_named_precisions_hold_everywhere() -> None:
    for device in ("cpu", "cuda"):
        assert product_dtype("fp32", device) == torch.float32
        assert product_dtype("bf16", device) == torch.bfloat16


def test_auto_follows_the_processor() -> None:
    has = torch.cpu.get_capabilities()
    expected = torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    assert product_dtype("auto", "cpu") == expected


def test_products_inside_the_context_are_reduced_and_only_there() -> None:
    x, device = torch.randn(4, 4), torch.device("cpu")
    with autocast("bf16", device):
        assert (x @ x).dtype == torch.bfloat16
    with autocast("fp32", device):
        assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32

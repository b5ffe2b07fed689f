"""CUDA graphs of a function: when it is made, recorded and replayed; what is asked of torch; and the emulation that
stands in for a GPU."""

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

from dwm_ray.agents.parts.optimizer import descend, fused_adam
from dwm_ray.cuda_graphs import WARM_UPS, CudaCapture, Graphs, capture_on
from dwm_ray.devices import device_for
from dwm_ray.runs.folder import RunFolder


class Walk:
    """Adds noise to a state, times a factor that Python knows."""

    def __init__(self) -> None:
        self.state, self.generator = torch.zeros(3), torch.Generator().manual_seed(0)
        self.num_made, self.factor = 0, 1.0

    def step(self) -> Tensor:
        self.num_made += 1
        self.state += self.factor * torch.randn(3, generator=self.generator)
        return self.state.sum()


def test_calls_are_made_recorded_and_replayed() -> None:
    capture, plain, walk = EmulatedCapture(), Walk(), Walk()
    graphs: Graphs[Tensor] = Graphs(capture, [walk.generator], "x.y")
    for _ in range(WARM_UPS + 5):
        assert torch.equal(graphs(0, walk.step), plain.step())
    assert torch.equal(walk.state, plain.state)
    assert torch.equal(walk.generator.get_state(), plain.generator.get_state())
    assert (capture.num_eager, len(capture.tapes)) == (WARM_UPS, 1)
    assert walk.num_made == WARM_UPS + 1  # Python runs while it is recorded, and no more


def test_each_kind_has_a_graph_and_forgetting_them_begins_anew() -> None:
    capture, walk = EmulatedCapture(), Walk()
    graphs: Graphs[Tensor] = Graphs(capture, [walk.generator], "x.y")
    for kind in (0, 1, 0, 1, 0, 1, 1, 0):
        graphs(kind, walk.step)
    assert (capture.num_eager, len(capture.tapes)) == (2 * WARM_UPS, 2)
    graphs.forget()
    for _ in range(WARM_UPS + 2):
        graphs(0, walk.step)
    assert (capture.num_eager, len(capture.tapes)) == (3 * WARM_UPS, 3)


def test_results_hold_until_the_next_call() -> None:
    walk = Walk()
    graphs: Graphs[Tensor] = Graphs(EmulatedCapture(), [walk.generator], "x.y")
    *_, first, second = [graphs(0, walk.step) for _ in range(WARM_UPS + 2)]
    assert first is second


def test_what_python_knows_is_recorded_with_it() -> None:
    """The reason why learning rates that change have to be tensors."""
    walk, plain = Walk(), Walk()
    graphs: Graphs[Tensor] = Graphs(EmulatedCapture(), [walk.generator], "x.y")
    for factor in range(WARM_UPS + 2):
        walk.factor = plain.factor = float(factor)
        replayed, made = graphs(0, walk.step), plain.step()
    assert not torch.equal(replayed, made)


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


def test_an_error_names_the_option_and_what_went_wrong_first() -> None:
    graphs: Graphs[Tensor] = Graphs(Broken(RuntimeError("not\npermitted")), [], "x.y")
    with pytest.raises(ValueError, match=r"^x\.y: this cannot be a CUDA graph \(not permitted\); expected False$"):
        [graphs(0, Walk().step) for _ in range(WARM_UPS + 1)]


def test_running_out_of_memory_is_told_as_it_is() -> None:
    graphs: Graphs[Tensor] = Graphs(Broken(torch.OutOfMemoryError("full")), [], "x.y")
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        [graphs(0, Walk().step) for _ in range(WARM_UPS + 1)]


def test_recording_does_nothing() -> None:
    """Of the emulation, as of a GPU: it would else hide what is done once too often."""
    walk = Walk()
    walk.step()
    state, noise = walk.state.clone(), walk.generator.get_state()
    result, replay = EmulatedCapture().record(walk.step, [walk.generator])
    assert result.isnan()
    assert torch.equal(walk.state, state)
    assert torch.equal(walk.generator.get_state(), noise)
    replay()
    assert torch.equal(result, walk.state.sum())
    assert not torch.equal(walk.state, state)


def test_a_device_without_graphs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^x\.y: CUDA graphs need a GPU, and this is the device cpu; expected False"):
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
    """In the place of torch.cuda, as far as `CudaCapture` asks: notes who asks for what, in order, and that torch's own
    functions would take these arguments."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._real = torch.cuda
        cuda = self

        class Stream:
            def __init__(self, device: torch.device, name: str = "side") -> None:
                self.name = name

            def wait_stream(self, other: Any) -> None:
                cuda.asked.append(f"{self.name} waits for {other.name}")

        class CUDAGraph:
            def register_generator_state(self, generator: torch.Generator) -> None:
                cuda.asked.append("register")

            def replay(self) -> None:
                cuda.asked.append("replay")

        self.Stream, self.CUDAGraph = Stream, CUDAGraph

    def current_stream(self, device: torch.device) -> Any:
        return self.Stream(device, "main")

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.asked.append(f"on {stream.name}")
        yield
        self.asked.append(f"off {stream.name}")

    @contextmanager
    def graph(self, *args: Any, **how: Any) -> Iterator[None]:
        inspect.signature(self._real.graph).bind(*args, **how)
        self.asked.append(f"begin on {how['stream'].name}, {how['capture_error_mode']}")
        yield
        self.asked.append("end")


def test_torch_is_asked_in_the_order_that_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(torch.cuda.CUDAGraph, "replay")
    cuda = Cuda()
    for name in ("Stream", "CUDAGraph", "current_stream", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    capture, generators = CudaCapture(torch.device("cuda")), [torch.Generator(), torch.Generator()]
    assert capture.eagerly(lambda: cuda.asked.append("call")) is None
    assert cuda.asked == ["side waits for main", "on side", "call", "off side", "main waits for side"]
    cuda.asked.clear()
    _, replay = capture.record(lambda: cuda.asked.append("call"), generators)
    replay()
    assert cuda.asked == ["register", "register", "begin on side, thread_local", "call", "end", "replay"]


@pytest.mark.parametrize("recorded", [False, True])
def test_adam_says_that_it_can_be_recorded_only_where_it_is(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch refuses an optimiser that does not, and warns of one that does elsewhere."""
    monkeypatch.setattr("dwm_ray.agents.parts.optimizer._is_captured", lambda x: recorded)
    net = torch.nn.Linear(2, 1)
    optimizer, said = fused_adam(0.1, net), []
    optimizer.register_step_pre_hook(lambda own, *_: said.append([group["capturable"] for group in own.param_groups]))
    descend(optimizer, net(torch.ones(1, 2)).sum())
    assert said == [[recorded]]

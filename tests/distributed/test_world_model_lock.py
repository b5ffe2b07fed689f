"""One process at a time holds the lock of a world model, and a process that dies releases it."""

import time

import pytest
import ray

from dwm_ray.distributed.workers.artifacts import locked

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Trial:
    """Stand-in for the process of a trial."""

    def lock(self) -> bool:
        self._lock = locked("world-model-of-this-test")
        return self._lock.__enter__()

    def release(self) -> None:
        self._lock.__exit__(None, None, None)


def obtains(trial: Trial) -> bool:
    """Try for 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if ray.get(trial.lock.remote()):  # type: ignore[attr-defined]
            return True
        time.sleep(0.1)
    return False


def test_a_lock_is_exclusive_and_ends_with_its_process(cluster: str) -> None:
    first, second, third = Trial.remote(), Trial.remote(), Trial.remote()
    assert ray.get(first.lock.remote())
    assert not ray.get([second.lock.remote(), third.lock.remote()])[0]
    ray.kill(first)
    assert obtains(second)
    assert not ray.get(third.lock.remote())
    ray.get(second.release.remote())
    assert obtains(third)

"""Tasks of the buffer that request blocks from samplers, one block at a time per sampler."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from dwm_ray.blocks import block_files
from dwm_ray.distributed.buffer.block_cache import BlockCache
from dwm_ray.distributed.buffer.conditions import Dispatcher
from dwm_ray.distributed.buffer.stream import BufferedStream

RETRY_PAUSE_S = 1.0
IDLE_TIMEOUT_S = 60.0
"""Maximum time that a restarted buffer waits for blocks in generation."""


class SamplerTasks:
    """One task per sampler, which requests the blocks returned by `claim`.

    `on_progress` is called after every request with its stream, `on_failure` once no request can succeed any more.
    """

    def __init__(
        self,
        names: list[str],
        cache: BlockCache,
        claim: Callable[[], tuple[BufferedStream, int] | None],
        on_progress: Callable[[BufferedStream], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self.names = names
        self._cache, self._on_progress, self._on_failure = cache, on_progress, on_failure
        self._dispatcher = Dispatcher(claim)
        self.dispatch = self._dispatcher.dispatch
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = not ray.get_runtime_context().was_current_actor_reconstructed

    def start(self) -> None:
        """Start the tasks if they are not running."""
        if not self._tasks:
            self._tasks = {asyncio.create_task(self._run_or_fail(name)) for name in self.names}

    async def wait_until_idle(self) -> None:
        """After a restart, wait until samplers have stored the blocks of the previous buffer process."""
        if not self._idle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    await asyncio.gather(*(_idle(ray.get_actor(name)) for name in self.names))
            self._idle = True

    async def _run_or_fail(self, name: str) -> None:
        """Report an error of the buffer itself to the readers, which would wait indefinitely otherwise."""
        try:
            await self._run(name)
        except Exception as error:
            self._on_failure(f"the buffer failed: {error!r}")
            raise

    async def _run(self, name: str) -> None:
        """Request blocks until the sampler has died permanently."""
        sampler, alive = ray.get_actor(name), True
        while alive:
            stream, index = await self._dispatcher.get()
            alive = await self._request(name, sampler, stream, index)
            if stream.ledger.complete:
                await asyncio.to_thread(stream.mark_complete)
            self._on_progress(stream)
            self.dispatch()
        self.names.remove(name)
        if not self.names:
            self._on_failure("all samplers died; see their logs in the Ray dashboard")

    async def _request(self, name: str, sampler: Any, stream: BufferedStream, index: int) -> bool:
        """Request a block, which is wanted again if it fails; return False if the sampler has died permanently."""
        try:
            ref, meta_ref = sampler.generate.remote(stream.spec, index)
            meta = await meta_ref
        except ActorUnavailableError:
            await self._release(stream, index)
            await asyncio.sleep(RETRY_PAUSE_S)
        except RayActorError:
            await self._release(stream, index)
            return False
        except RayTaskError as error:
            stream.sampler_failed(index, error.cause)
            await asyncio.sleep(0.0 if stream.error else RETRY_PAUSE_S)
        else:
            if stream.accept(index, meta, name):
                self._cache.put(stream, index, ref, meta["rows"] * meta["shape"].width * 4)
                self._cache.evict()
        return True

    @staticmethod
    async def _release(stream: BufferedStream, index: int) -> None:
        rows = await asyncio.to_thread(block_files.stored_rows, stream.run, stream.spec, index)
        stream.sampler_died(index, rows)


async def _idle(sampler: Any) -> None:
    """Wait until a sampler has finished its requests or is dead."""
    with contextlib.suppress(RayActorError):
        await sampler.idle.remote()

"""Work in the background of an office or worker process. If it fails, the process ends, and is mended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine

log = logging.getLogger("gateway.workers")


class Stop:
    """Set when the process is to end; `failed` if that is by its own fault."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.failed = False

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    @contextlib.asynccontextmanager
    async def background(self, work: Coroutine[object, object, None], name: str) -> AsyncIterator[None]:
        """Have the work done until the end of the block."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._look)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _look(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
            self.failed = True
            self.set()

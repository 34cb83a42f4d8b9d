"""What a pump awaits outside of its two streams: the dial to the broker, and the facts its session asked for.

Each ends in one call back, unless the connection has ended before: then it is cancelled. Only a dial may outlive the
session, if there is something left to be sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from gateway.core.reasons import Reason
from gateway.core.session import Ask, Endpoint, Fact, Unavailable
from gateway.edge.process import Dial, DialFailed, Process
from gateway.edge.streams import Stream

ASK_SECONDS_MAX = 60.0
"""An ask without an answer for so long is told `Unavailable`, whatever its own timeout was."""

log = logging.getLogger(__name__)


class Errands:
    """One connection's. `dialled`, `not_dialled` and `told` are called with what came of it, `failed` with an error of
    the gateway's own."""

    def __init__(
        self,
        process: Process,
        dial: Dial,
        dialled: Callable[[Stream], None],
        not_dialled: Callable[[Reason, str], None],
        told: Callable[[Fact], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._loop = process.loop
        self._answer = process.answer
        self._dial = dial
        self._dialled = dialled
        self._not_dialled = not_dialled
        self._told = told
        self._failed = failed
        self._dialling: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._over = False
        self._dial_over = False

    @property
    def dialling(self) -> bool:
        return self._dialling is not None

    def dial(self, endpoint: Endpoint) -> None:
        self._dialling = self._loop.create_task(self._run_dial(endpoint))

    async def _run_dial(self, endpoint: Endpoint) -> None:
        try:
            stream = await self._dial(endpoint)
        except DialFailed as failed:
            self._dialling = None
            if not self._dial_over:
                self._not_dialled(failed.reason, failed.detail)
        except Exception as error:
            self._dialling = None
            self._failed(error)
        else:
            self._dialling = None
            if self._dial_over:
                stream.close()
            else:
                self._dialled(stream)

    def ask(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            task = self._loop.create_task(self._run_ask(ask))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _run_ask(self, ask: Ask) -> None:
        fact: Fact
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                fact = await self._answer(ask)
        except Exception as error:
            if not isinstance(error, TimeoutError):
                log.error("an ask of type %s could not be answered: %s", type(ask).__name__, type(error).__name__)
            fact = Unavailable(ask)
        if not self._over:
            self._told(fact)

    def stop_asking(self) -> None:
        """The session has ended. The errand that brought its end about, if one did, is let finish."""
        self._over = True
        current = asyncio.current_task(self._loop)
        for task in self._asked:
            if task is not current:
                task.cancel()

    def stop_dialling(self) -> None:
        """Nothing is to be sent any more."""
        self._dial_over = True
        if self._dialling is not None:
            self._dialling.cancel()

"""Drives one backend's control object: when it learns anew, what sessions ask it, and what happens when it cannot.

The control object (kafka.control.KafkaControl) knows the protocol and no time; this knows time and no protocol.
Metadata is refreshed every `metadata_refresh`, at once when a session saw that something moved, and after a failure
with growing, jittered pauses. Equal asks share one flight; at most `FLIGHTS_MAX` fly at once and `WAITING_MAX` wait,
anything beyond is told Unavailable at once, as is what was not answered in time. The audit hears of each change between
reached and not. Composed by ops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from gateway.core.audit import Audit, AuditEvent
from gateway.core.clock import Clock
from gateway.core.exchange import Dial as ExchangeDialling
from gateway.core.exchange import ExchangeFailed
from gateway.core.meters import Meters
from gateway.core.session import Ask, Fact, Unavailable
from gateway.core.settings import Backend
from gateway.edge import meters as named
from gateway.edge.exchange import ExchangeDial, Renew
from gateway.edge.process import Dial

PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 15.0
ON_DEMAND_SECONDS_MIN = 0.5
"""Between two refreshes that sessions asked for."""
FLIGHTS_MAX = 8
WAITING_MAX = 1000
WORDS_MAX = 300

log = logging.getLogger(__name__)


class Control(Protocol):
    """What is driven. It may raise ExchangeFailed. The asks are the protocol's own types, told apart there.

    `close`: nothing is asked any more; end what connections are kept.
    """

    async def refresh(self, dial: ExchangeDialling) -> None: ...

    async def answer(self, ask: Any, dial: ExchangeDialling) -> Fact: ...

    def close(self) -> None: ...


@runtime_checkable
class Movable(Protocol):
    """A control object that goes on under another configuration of its backend."""

    def use(self, settings: Backend) -> None: ...


@runtime_checkable
class Wanting(Protocol):
    """A control object that says when a session saw something move."""

    @property
    def refresh_wanted(self) -> bool: ...

    def when_wanted(self, call: Callable[[], None]) -> None:
        """Have it told at once, on the loop."""


class ControlDriver:
    """One per backend. `start` begins the schedule, `close` ends it and every flight."""

    def __init__(
        self,
        control: Control,
        backend: Backend,
        dial: Dial,
        audit: Audit,
        clock: Clock,
        meters: Meters,
        renew: Renew | None = None,
    ) -> None:
        self._control = control
        self._backend = backend
        self._opening = dial
        self._dial = ExchangeDial(dial, backend.request_timeout, renew)
        self._audit = audit
        self._clock = clock
        self._meters = meters
        self._failures = 0
        self._reached: bool | None = None
        self._last_error = ""
        self._at_once = False
        self._woken = asyncio.Event()
        """Something may have made the next refresh due earlier."""
        if isinstance(control, Wanting):
            control.when_wanted(self._woken.set)
        self._schedule: asyncio.Task[None] | None = None
        self._flights: dict[Ask, asyncio.Task[Fact]] = {}
        self._places = asyncio.Semaphore(FLIGHTS_MAX)

    async def start(self) -> None:
        self._schedule = asyncio.create_task(self._run(), name=f"control {self._backend.name}")

    async def close(self) -> None:
        tasks: list[asyncio.Task[Any]] = list(self._flights.values())
        if self._schedule is not None:
            tasks.append(self._schedule)
            self._schedule = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._control.close()

    def use(self, backend: Backend, renew: Renew | None) -> None:
        """The backend is configured so from now on; everything of it is learnt anew at once."""
        self._backend = backend
        self._dial = ExchangeDial(self._opening, backend.request_timeout, renew)
        if isinstance(self._control, Movable):
            self._control.use(backend)
        self._at_once = True
        self._woken.set()

    def last_error_words(self) -> str:
        """Why the backend is not reached, to append to a sentence; "" if it is."""
        return f" ({self._last_error})" if self._last_error else ""

    # ---- the schedule -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            begun = self._clock.monotonic()
            self._at_once = False
            await self._refresh()
            await self._pause(begun)

    async def _refresh(self) -> None:
        """One refresh, bounded in time; never raises but when cancelled."""
        try:
            async with asyncio.timeout(self._refresh_seconds()):
                await self._control.refresh(self._dial)
        except TimeoutError:
            self._missed(f"a refresh took longer than {self._refresh_seconds():g} s")
        except ExchangeFailed as failed:
            self._missed(str(failed))
        except Exception as error:
            log.exception("the control connection of backend %s failed", self._backend.name)
            self._missed(f"an error of the gateway's own ({type(error).__name__})")
        else:
            self._failures = 0
            self._last_error = ""
            self._meters.cell(named.CONTROL, self._backend.name, "ok").value += 1
            self._tell(reached=True)

    def _refresh_seconds(self) -> float:
        """A refresh asks several questions of several brokers."""
        return 4 * (self._backend.dial_timeout + self._backend.request_timeout)

    def _missed(self, words: str) -> None:
        self._failures += 1
        self._last_error = words[:WORDS_MAX]
        self._meters.cell(named.CONTROL, self._backend.name, "failed").value += 1
        self._tell(reached=False)

    def _tell(self, reached: bool) -> None:
        if reached is not self._reached:
            self._reached = reached
            fields = {"backend": self._backend.name, "state": "reached" if reached else "unreachable"}
            if not reached:
                fields["detail"] = self._last_error
                log.warning("backend %s is not reached: %s", self._backend.name, self._last_error)
            self._audit(AuditEvent("upstream", self._clock.wall(), fields=MappingProxyType(dict(fields))))

    async def _pause(self, begun: float) -> None:
        """Until the next refresh is due; or sooner, if a session wants one."""
        if self._failures:
            longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2 ** min(self._failures - 1, 10))
            end = self._clock.monotonic() + longest * (0.5 + random.random() / 2)  # noqa: S311  (jitter, no secret)
        else:
            end = begun + self._backend.metadata_refresh
        earliest = begun + ON_DEMAND_SECONDS_MIN
        while not self._at_once:
            self._woken.clear()  # before it is looked, so that no wish is slept over
            wanted = isinstance(self._control, Wanting) and self._control.refresh_wanted
            if wanted and not self._failures:
                end = min(end, earliest)
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._woken.wait()

    # ---- what sessions ask ------------------------------------------------------------------------------------

    async def answer(self, ask: Ask) -> Fact:
        """Join the flight of an equal ask, or begin one. One asker's end does not end the others' flight.

        Never raises but when cancelled.
        """
        flight = self._flights.get(ask)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MAX + WAITING_MAX:
                return Unavailable(ask)
            flight = asyncio.create_task(self._ask(ask))
            self._flights[ask] = flight
            flight.add_done_callback(lambda _: self._flights.pop(ask, None))
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():
                return Unavailable(ask)
            raise

    async def _ask(self, ask: Ask) -> Fact:
        try:
            async with asyncio.timeout(self._backend.dial_timeout + self._backend.request_timeout), self._places:
                return await self._control.answer(ask, self._dial)
        except (TimeoutError, ExchangeFailed) as error:
            log.info("backend %s could not answer an ask: %s", self._backend.name, str(error) or "no time left")
        except Exception:
            log.exception("the control connection of backend %s failed", self._backend.name)
        return Unavailable(ask)

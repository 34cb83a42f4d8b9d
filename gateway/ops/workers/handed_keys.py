"""A worker's keys: fetched by the office, handed in by the channel, kept in the worker's own ring. composition.Keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from gateway.core.keys import KeyRing
from gateway.core.meters import Reading
from gateway.core.session import Fact, KeysRefreshed, KeysWanted, Unavailable
from gateway.core.settings import Issuer
from gateway.edge.keys import WAIT_MAX, NextIssuers, source_of
from gateway.ops.workers.channel import Channel, ChannelLost, Refused

FLIGHTS_MAX = 64
"""Unknown keys that are asked for at one time; equal ones share one question."""
ANSWER_SECONDS = WAIT_MAX + 1.0


class HandedKeys:
    """`channel` is the one to the office, None while there is none; then unknown keys cannot be had."""

    def __init__(self, ring: KeyRing, issuers: Sequence[Issuer]) -> None:
        self._ring = ring
        self._issuers = tuple(issuers)
        self._flights: dict[KeysWanted, asyncio.Task[bool]] = {}
        self.channel: Channel | None = None

    def take(self, issuer: str, jwks: bytes, at: float) -> None:
        """A document that the office has fetched and looked at, `at` wall time."""
        self._ring.replace(issuer, jwks, at)

    async def prepare(self, issuers: Sequence[Issuer]) -> NextIssuers:
        """What has to be fetched first the office has."""
        return NextIssuers(tuple(issuers), ())

    def use(self, found: NextIssuers) -> None:
        """These are the issuers now; keys that come from elsewhere from now on are none until the office hands them
        in, which is at once."""
        now = {issuer.name: source_of(issuer) for issuer in found.issuers}
        for issuer in self._issuers:
            if now.get(issuer.name) != source_of(issuer):
                self._ring.remove(issuer.name)
        self._issuers = found.issuers

    async def settle(self) -> None:
        """Nothing is fetched here."""

    async def start(self) -> None:
        """Nothing is fetched here."""

    async def close(self) -> None:
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def refresh(self, wanted: KeysWanted) -> Fact:
        """KeysRefreshed after the office has fetched well, else Unavailable."""
        flight = self._flights.get(wanted)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MAX or self.channel is None:
                return Unavailable(wanted)
            flight = asyncio.create_task(self._ask(self.channel, wanted))
            self._flights[wanted] = flight
            flight.add_done_callback(lambda _: self._flights.pop(wanted, None))
        try:
            return KeysRefreshed(wanted.issuer) if await asyncio.shield(flight) else Unavailable(wanted)
        except asyncio.CancelledError:
            if flight.cancelled():
                return Unavailable(wanted)
            raise

    @staticmethod
    async def _ask(channel: Channel, wanted: KeysWanted) -> bool:
        try:
            return bool(await channel.ask("keys", seconds=ANSWER_SECONDS, issuer=wanted.issuer, kid=wanted.kid))
        except (ChannelLost, Refused):
            return False

    def ready(self) -> tuple[str, ...]:
        """The office says what is missing."""
        return ()

    def notes(self) -> list[str]:
        return []

    def last_errors(self) -> dict[str, str]:
        return {}

    def readings(self) -> Iterator[Reading]:
        yield from ()

"""One Pulsar client's connection by the general way alone, with the short way inside, and with a pump that uses it."""

from __future__ import annotations

from typing import Any

from gateway.pulsar import commands
from tests.property.short_ways import GENERAL, ByWay, NoShortWay
from tests.scenarios.pulsar_world import PulsarWorld


class NoShortPulsar(NoShortWay):
    """Takes nothing, ever."""

    sending = telling = None
    frames = 0

    def sent_on(self, octets: int) -> int:
        return 0

    def told_on(self, octets: int) -> int:
        return 0


class ShortPulsar(ByWay, PulsarWorld):
    """`short`: what makes the session's short way, None for its own."""

    def __init__(self, way: str, short: Any = None, **settings: Any) -> None:
        self.short = short
        super().__init__(way, **settings)

    def connect(self, *given: Any, **named: Any) -> None:
        super().connect(*given, **named)
        session: Any = self.session
        if self.way == GENERAL:
            session.short_way = NoShortPulsar()
        elif self.short is not None:
            session.short_way = self.short(
                session, self.pulsar, session._from_client, session._from_upstream,
                session._client_alive, session._broker_alive,
            )  # fmt: skip


def whole(octets: bytes) -> tuple[bytes, bytes]:
    """Its whole frames, and what is there of one that is not."""
    at = 0
    while len(octets) - at >= 8 and (stop := at + 4 + commands.sizes(memoryview(octets), at)[0]) <= len(octets):
        at = stop
    return octets[:at], octets[at:]

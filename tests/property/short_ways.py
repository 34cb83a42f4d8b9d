"""One client's connection three times: by the general way alone, with the short way inside, and with a pump that uses
it. Whatever frames come, all three must do the same.
"""

from __future__ import annotations

import random
from typing import Any

from tests.scenarios.kafka_world import Seen, World

GENERAL, SESSION, PUMP = WAYS = ("general", "session", "pump")


class NoShortWay:
    """Takes nothing, ever."""

    streaming = False
    failed = None
    requests_taken = octets_in = octets_out = 0

    def requests(self, data: memoryview) -> int:
        return 0

    def answers(self, data: memoryview) -> int:
        return 0

    def follow(self, *_: Any) -> None: ...

    def brief(self, *_: Any, **__: Any) -> None: ...


class ByWay(World):
    """`way`: one of WAYS."""

    def __init__(self, way: str, **settings: Any) -> None:
        self.way = way
        self.by_pump = self.instead = 0
        """Octets that the pump passed by itself, and answers that it wrote in place of the broker's."""
        super().__init__(**settings)

    def _show(self) -> Seen:
        seen = Seen()
        if self.way == PUMP:
            while self._client_is_shown():
                taken = self.session.short_way.requests(memoryview(self.unread))
                seen += Seen(up=self.unread[:taken])
                self.unread = self.unread[taken:]
                self.by_pump += taken
                before = len(self.unread)
                seen += self._show_once()
                if not taken and len(self.unread) == before:
                    return seen
            return seen
        return super()._show()

    def _answered(self) -> Seen:
        if self.way != PUMP:
            return super()._answered()
        taken = self.session.short_way.answers(memoryview(self.unanswered))
        instead = self.session.effects.to_client
        assert len(instead) <= 1
        seen = Seen(down=bytes(instead[0]) if instead else self.unanswered[:taken])
        assert taken or not instead
        self.instead += len(instead)
        instead.clear()
        self.unanswered = self.unanswered[taken:]
        self.by_pump += taken
        if self.ended is None and self.unanswered and len(self.unanswered) >= self.session.upstream_wanted:
            seen += super()._answered()
        return seen


class ShortWorld(ByWay):
    """`short`: what makes the session's short way, None for its own."""

    def __init__(self, way: str, short: Any = None, **settings: Any) -> None:
        self.short = short
        super().__init__(way, **settings)

    def connect(self, greeted: float | None = None) -> None:
        super().connect(greeted)
        session = self.session
        if self.way == GENERAL:
            session.short_way = NoShortWay()  # type: ignore[assignment]
        elif self.short is not None:
            session.short_way = self.short(
                session, self.context, session._queue, session._from_client, session._from_upstream
            )


def picture(world: ShortWorld) -> dict[str, Any]:
    """All that is to be the same."""
    session = world.session
    return {
        "meters": sorted((meter.name, labels, value) for meter, labels, value in world.meters.series() if value),
        "events": [(event.event, dict(event.fields)) for event in world.events],
        "parked": session.parked,
        "wanted": None if world.ended else (session.client_wanted, session.upstream_wanted),
        "ended": None if world.ended is None else (world.ended.reason, world.ended.detail),
        "held": world.held_until,
        "places": len(session._queue),
    }


LONG = 10_000
"""Octets from which on a few chunks are long ones, or most of the time would go into carrying crumbs of one text."""


def cut(dice: random.Random, data: bytes) -> list[bytes]:
    """The octets in chunks of any sizes."""
    how = dice.random()
    if how < 0.3:
        return [data]
    most = 8 if how < 0.5 else 400
    jumps = 0.05 if len(data) > LONG else 0.0
    chunks, at = [], 0
    while at < len(data):
        size = dice.randrange(1, LONG if jumps and dice.random() < jumps else most)
        chunks.append(data[at : at + size])
        at += size
    return chunks

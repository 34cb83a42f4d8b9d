"""The answers a connection's client expects, in the order of its requests, each kept until it may be sent.

A Kafka connection answers strictly in order. The gateway answers some requests by itself, so such an answer waits
here until every earlier one was passed on. One request, one place; Produce with acks=0 has none.

Most places are those of Produce and Fetch requests that went on as they came, of which nothing needs to be known but
what `walked_place` packs into one number. The short way (kafka.short_way) puts these in and takes them out by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.core.session import Part
from gateway.kafka.plan import Finish
from gateway.kafka.remembered import Asked

OWN_OCTETS_MAX = 4 * 1024 * 1024
"""Bytes of own answers that may wait behind a broker's; beyond them no further request is decided."""
FETCH = 1
FETCHES_MAX = 4
"""Fetch requests at the broker at once. What they bring is counted against the quota when it comes, so no client may
ask for much in advance; clients have one at a time."""


class Expected:
    """What the broker will answer to one request.

    version: the client's version; asked: the version the broker was asked at.
    finish: what turns the broker's answer into the client's; None relays it.
    walked: an answer to Produce or Fetch whose request took the fast path; its answer is walked, not decoded.
    throttle_ms: the gateway's own throttle, to be merged with the broker's.
    kept: bytes of the request that its account counts until the answer has come.
    own: the gateway's own answer (length prefix included); nothing else holds then.
    gateways: the request was the gateway's own, and nothing of its answer is for the client.
    remembered: Metadata that others may ask for in the same words (kafka.remembered).
    """

    __slots__ = (
        "api_key", "asked", "correlation_id", "finish", "gateways", "kept", "own", "remembered", "throttle_ms",
        "version", "walked",
    )  # fmt: skip

    def __init__(
        self,
        correlation_id: int,
        api_key: int,
        version: int,
        asked: int,
        finish: Finish | None = None,
        throttle_ms: int = 0,
        walked: bool = False,
        own: bytes | None = None,
        kept: int = 0,
        gateways: bool = False,
    ) -> None:
        self.correlation_id = correlation_id
        self.api_key = api_key
        self.version = version
        self.asked = asked
        self.finish = finish
        self.throttle_ms = throttle_ms
        self.walked = walked
        self.own = own
        self.kept = kept
        self.gateways = gateways
        self.remembered: Asked | None = None


def walked_place(correlation_id: int, api_key: int, version: int) -> int:
    """The place of a Produce or Fetch request that went on as it came, and of which no throttle time is to be told."""
    return (correlation_id & 0xFFFFFFFF) << 32 | api_key << 16 | version


def _unpacked(place: int) -> Expected:
    correlation_id, api_key, version = place >> 32, place >> 16 & 0xFFFF, place & 0xFFFF
    if correlation_id > 0x7FFFFFFF:
        correlation_id -= 1 << 32
    return Expected(correlation_id, api_key, version, version, walked=True)


class AnswerQueue:
    """The places, oldest first. Bounded by its user, who lets no further request in while it is `full`."""

    __slots__ = ("_in_flight_max", "_own_octets", "fetches", "places")

    def __init__(self, in_flight_max: int) -> None:
        self.places: deque[Expected | int] = deque()
        self._in_flight_max = in_flight_max
        self._own_octets = 0
        self.fetches = 0
        """Of the places, those of Fetch requests."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def full(self) -> bool:
        return (
            len(self.places) >= self._in_flight_max or self._own_octets >= OWN_OCTETS_MAX or self.fetches >= FETCHES_MAX
        )

    @property
    def kept(self) -> int:
        """What all that is expected keeps of its requests."""
        return sum(place.kept for place in self.places if isinstance(place, Expected))

    def expect(self, expected: Expected) -> None:
        """The broker will answer this."""
        self.places.append(expected)
        self.fetches += expected.api_key == FETCH

    def expect_walked(self, correlation_id: int, api_key: int, version: int) -> None:
        """The broker will answer a request of which `walked_place` says enough."""
        self.places.append(walked_place(correlation_id, api_key, version))
        self.fetches += api_key == FETCH

    def own(self, answer: bytes, to_client: list[Part]) -> None:
        """The gateway's own answer: sent at once if nothing earlier is due, else kept."""
        if self.places:
            self._own_octets += len(answer)
            self.places.append(Expected(0, 0, 0, 0, own=answer))
        else:
            to_client.append(answer)

    def head(self) -> Expected | None:
        """What the broker's next answer must be, None if none is due. An own answer is never at the head."""
        if not self.places:
            return None
        place = self.places[0]
        return place if isinstance(place, Expected) else _unpacked(place)

    def own_is_next(self) -> bool:
        """Whether an own answer stands right behind the head."""
        return len(self.places) > 1 and _own(self.places[1]) is not None

    def passed(self) -> bool:
        """The head was answered. True if own answers stood behind it: `release` them once it is on its way."""
        place = self.places.popleft()
        self.fetches -= (place.api_key if isinstance(place, Expected) else place >> 16 & 0xFFFF) == FETCH
        return bool(self.places) and _own(self.places[0]) is not None

    def release(self, send: Callable[[bytes], None]) -> None:
        """Send the own answers that are due now."""
        places = self.places
        while places and (answer := _own(places[0])) is not None:
            places.popleft()
            self._own_octets -= len(answer)
            send(answer)


def _own(place: Expected | int) -> bytes | None:
    return place.own if isinstance(place, Expected) else None

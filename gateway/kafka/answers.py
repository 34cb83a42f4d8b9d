"""The answers a connection's client expects, in the order of its requests, each kept until it may be sent.

A Kafka connection answers strictly in order. The gateway answers some requests by itself, so such an answer waits
here until every earlier one was passed on. One request, one place; Produce with acks=0 has none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.core.session import Part
from gateway.kafka.plan import Finish

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
    """

    __slots__ = (
        "api_key", "asked", "correlation_id", "finish", "gateways", "kept", "own", "throttle_ms", "version", "walked",
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


class AnswerQueue:
    """The places, oldest first. Bounded by its user, who lets no further request in while it is `full`."""

    __slots__ = ("_fetches", "_in_flight_max", "_own_octets", "_queue")

    def __init__(self, in_flight_max: int) -> None:
        self._queue: deque[Expected] = deque()
        self._in_flight_max = in_flight_max
        self._own_octets = 0
        self._fetches = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        return (
            len(self._queue) >= self._in_flight_max
            or self._own_octets >= OWN_OCTETS_MAX
            or self._fetches >= FETCHES_MAX
        )

    @property
    def kept(self) -> int:
        """What all that is expected keeps of its requests."""
        return sum(expected.kept for expected in self._queue)

    def expect(self, expected: Expected) -> None:
        """The broker will answer this."""
        self._queue.append(expected)
        self._fetches += expected.api_key == FETCH

    def own(self, answer: bytes, to_client: list[Part]) -> None:
        """The gateway's own answer: sent at once if nothing earlier is due, else kept."""
        if self._queue:
            self._own_octets += len(answer)
            self._queue.append(Expected(0, 0, 0, 0, own=answer))
        else:
            to_client.append(answer)

    def head(self) -> Expected | None:
        """What the broker's next answer must be, None if none is due. An own answer is never at the head."""
        return self._queue[0] if self._queue else None

    def passed(self) -> bool:
        """The head was answered. True if own answers stood behind it: `release` them once it is on its way."""
        self._fetches -= self._queue.popleft().api_key == FETCH
        return bool(self._queue) and self._queue[0].own is not None

    def release(self, send: Callable[[bytes], None]) -> None:
        """Send the own answers that are due now."""
        queue = self._queue
        while queue and (answer := queue[0].own) is not None:
            queue.popleft()
            self._own_octets -= len(answer)
            send(answer)

"""The client's requests that wait for the broker's answer, by their ids.

An id in use cannot be used again before it is answered, so that no answer can be taken for another's. The ids of the
gateway's own requests are out of clients' reach: clients count from 0, and a client that writes one is ended.
"""

from __future__ import annotations

from dataclasses import dataclass

OWN_IDS = 1 << 63
"""The gateway's own request ids begin here."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request. handle_id: the producer or consumer it opens, closes or ends; `opens`: this request entered it."""

    command: str
    handle_id: int = -1
    opens: bool = False
    topic: str = ""
    """What a lookup is for, as it was written."""
    listener: str = ""


class Requests:
    """All of one connection, `most` at one time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[int, Waiting] = {}
        self._next = OWN_IDS

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._most

    def in_use(self, request_id: int) -> bool:
        return request_id in self._waiting

    def add(self, request_id: int, waiting: Waiting) -> None:
        self._waiting[request_id] = waiting

    def own(self, waiting: Waiting) -> int:
        """Enter a request of the gateway's own; its id."""
        request_id, self._next = self._next, self._next + 1
        self._waiting[request_id] = waiting
        return request_id

    def get(self, request_id: int) -> Waiting | None:
        return self._waiting.get(request_id)

    def answered(self, request_id: int) -> None:
        self._waiting.pop(request_id, None)

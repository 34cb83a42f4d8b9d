"""Metadata requests as they were decided, and what became of the broker's answers: computed once for all who ask alike.

A client asks for Metadata again and again, and a thousand consumers of one application ask the same and are answered
the same: so what was decided, filtered and rewritten is kept and used again, for exactly the same octets under the same
rights (those of one policy revision, which equal identities share) on the same listener as it is configured, as long
as the backend's topics are the same. Nothing is kept of what left a trace in the audit: a request with a denial, or an
answer with a broker that clients cannot reach, is decided each time.

One memory per backend, shared by all connections, bounded in octets; the oldest request is forgotten first. Called by
kafka.traffic, kafka.relay and, for one connection each, kafka.again.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from itertools import count
from typing import Protocol

from gateway.core.rights import Rights
from gateway.core.settings import Listener
from gateway.kafka.plan import Finish, View

METADATA = 3
OCTETS_MAX = 16 << 20
"""What one backend's memory holds: requests, and answers as they came and as they were sent."""
REQUEST_OCTETS_MAX = 64 * 1024
"""Larger requests are not remembered."""
ANSWER_OCTETS_MAX = 2 << 20
"""Nor larger answers."""
ANSWERS_MAX = 4
"""Different answers to one request: brokers may order the same differently."""
DECODED_FACTOR = 20
"""A decoded request takes so many times its octets."""

Key = tuple[Rights, str, int, bytes, bool]

_numbers = count(1)


class Changing(Protocol):
    """The backend's topics (kafka.backend.TopicDirectory)."""

    changes: int


class Asked:
    """One request. `sent`: the body that the broker is sent at version `asked`, None for the client's own.

    `listener`: whose addresses answers have. `accesses`: what it is allowed, to be summed each time. An answer may
    be finished for any connection: `finish_for`. `number`: no other has the same. `answers`: (as it came, what was made
    of it), both without headers.
    """

    __slots__ = ("_finish", "accesses", "answers", "asked", "listener", "number", "octets", "rights", "sent")

    def __init__(
        self,
        rights: Rights,
        listener: Listener,
        finish: Finish | None,
        sent: bytes | None,
        asked: int,
        accesses: tuple[tuple[str, str, str], ...],
        octets: int,
    ) -> None:
        self.rights = rights
        self.listener = listener
        self._finish = finish
        self.sent = sent
        self.asked = asked
        self.accesses = accesses
        self.octets = octets
        self.number = next(_numbers)
        self.answers: list[tuple[bytes, bytes]] = []

    def finish_for(self, view: View) -> Finish | None:
        """What makes the client's answer of the broker's, with the view of the connection that it is for."""
        return partial(self._finish, view=view) if self._finish is not None else None

    def answer(self, given: bytes) -> bytes | None:
        """What was made of this answer before, without its header."""
        for octets, made in self.answers:
            if octets == given:
                return made
        return None

    def learn(self, given: bytes, made: bytes) -> int:
        """Remember what was made of an answer. How many octets more that takes."""
        before = sum(len(octets) + len(each) for octets, each in self.answers)
        self.answers = [(given, made), *self.answers[: ANSWERS_MAX - 1]]
        grown = sum(len(octets) + len(each) for octets, each in self.answers) - before
        self.octets += grown
        return grown


class Remembered:
    """One backend's memory."""

    __slots__ = ("_asked", "_changes", "_topics", "octets")

    def __init__(self, topics: Changing) -> None:
        self._topics = topics
        self._changes = topics.changes
        self._asked: dict[Key, Asked] = {}
        self.octets = 0

    def __len__(self) -> int:
        return len(self._asked)

    def find(self, rights: Rights, listener: Listener, version: int, body: bytes, creating: bool) -> Asked | None:
        """The same request as it was decided before. `creating`: the brokers create topics that are asked for."""
        if self._changes != self._topics.changes:
            self._changes = self._topics.changes
            self._asked.clear()
            self.octets = 0
        found = self._asked.get((rights, listener.name, version, body, creating))
        return found if found is not None and found.listener is listener else None

    def learn(
        self,
        rights: Rights,
        listener: Listener,
        version: int,
        body: bytes,
        creating: bool,
        finish: Finish | None,
        sent: bytes | None,
        asked: int,
        accesses: Collection[tuple[str, str, str]],
    ) -> Asked | None:
        """Remember a request that left no trace; None if it is too large."""
        if len(body) > REQUEST_OCTETS_MAX:
            return None
        octets = DECODED_FACTOR * len(body) + len(sent or b"")
        made = Asked(rights, listener, finish, sent, asked, tuple(accesses), octets)
        key = rights, listener.name, version, body, creating
        before = self._asked.pop(key, None)
        self.octets += octets - (before.octets if before is not None else 0)
        self._asked[key] = made
        self._make_room()
        return made

    def learn_answer(self, asked: Asked, given: bytes, made: bytes) -> None:
        """Remember what was made of an answer to a request that is remembered (or was, a moment ago)."""
        if len(given) <= ANSWER_OCTETS_MAX:
            grown = asked.learn(given, made)
            if any(each is asked for each in self._asked.values()):
                self.octets += grown
                self._make_room()

    def _make_room(self) -> None:
        while self.octets > OCTETS_MAX and self._asked:
            self.octets -= self._asked.pop(next(iter(self._asked))).octets

"""Keys of session tickets (RFC 8446, 2.2): the same in all workers, another every day, none kept.

OpenSSL makes a context's ticket keys with the context, and pyOpenSSL has no call to set them; so they are handed on as
contexts. A *stem* is a context with ticket keys and nothing else: each connection begins with the stem of the day and
goes on with its listener's context, which has certificate and names (`begin`). OpenSSL seals and opens tickets with the
first, whatever becomes of the second: so tickets are good after a certificate was changed, and in every worker, since
the stems of the days to come are made before workers are forked (`make_ahead`). A ticket is taken by the listener that
gave it, and by no other: each has a session id context of its own.

Only TLS 1.3 has tickets here: a session that is resumed agrees upon keys anew (psk_dhe_ke), so that who comes by a
day's ticket keys, which lie in every process, reads nothing of what was recorded. A ticket of TLS 1.2 (RFC 5077)
carries the session's master secret itself: there none is given (`edge.names.none_of_old`).

A ticket is good for `TICKET_SECONDS`, and never past the end of its stem's day. Its keys are wiped when the next stem
is first used and no connection that began with the old one is left: an open one holds them for its life. When no stem
is left that was made ahead, each worker makes its own, and a ticket is good in that worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from OpenSSL import SSL

TICKET_SECONDS = 2 * 3600
ROTATE_SECONDS = 24 * 3600
DAYS_AHEAD = 100
"""Some 14 KiB each, which all workers share."""

Versions = tuple[str, ...]
"""The TLS versions of a listener, which a connection has from its stem."""


class Tickets:
    """The stems of one gateway. `make` makes one; `clock` is monotonic, and the same in all processes."""

    def __init__(self, make: Callable[[Versions], ServerContext], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._begun = clock()
        self._ahead: dict[Versions, dict[int, ServerContext]] = {}
        """By day."""
        self._held: dict[Versions, tuple[int, ServerContext]] = {}

    def make_ahead(self, wanted: Iterable[Versions], days: int = DAYS_AHEAD) -> None:
        """Before workers are forked: what all of them will have."""
        for versions in wanted:
            self._ahead[versions] = {day: self._make(versions) for day in range(days)}

    def stem(self, versions: Versions) -> ServerContext:
        """The stem of the day."""
        day = self._day()
        held = self._held.get(versions)
        if held is None or held[0] != day:
            made = self._ahead.get(versions, {}).pop(day, None)
            held = self._held[versions] = day, made if made is not None else self._make(versions)
            self.forget()
        return held[1]

    def forget(self) -> None:
        """Drop what was made ahead for days that are over: also in the process that only forks, and asks for none."""
        day = self._day()
        for stems in self._ahead.values():
            for past in [each for each in stems if each < day]:
                del stems[past]

    def _day(self) -> int:
        return int((self._clock() - self._begun) / ROTATE_SECONDS)


class ServerContext(SSL.Context):
    """A listener's context. `versions`: of its tickets' stem, () where it gives none. `stem` makes a connection begin
    with one (`give`); without, its tickets are of its own keys."""

    versions: Versions = ()
    stem: Callable[[], ServerContext] | None = None
    quiet = False
    """Its handshakes ask nobody here: no certificates of clients, one of its own, no protocol to agree upon."""
    adapted = False
    """Its connections' first records after a pause are short (edge.channels)."""
    at = 0
    """Its address, as the compiled engine has found it."""

    def first(self) -> ServerContext:
        """What a connection begins with."""
        return self if self.stem is None else self.stem()


def give(context: SSL.Context, tickets: Tickets) -> None:
    """Have connections of a context begin with the stem of the day."""
    if isinstance(context, ServerContext) and context.versions:
        context.stem = partial(tickets.stem, context.versions)


def begin(context: SSL.Context) -> SSL.Connection:
    """A connection of a context, with the ticket keys of the day."""
    stem = context.stem if isinstance(context, ServerContext) else None
    if stem is None:
        return SSL.Connection(context)
    connection = SSL.Connection(stem())
    connection.set_context(context)
    return connection

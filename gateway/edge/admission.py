"""Who may have a place: in all, per address, and among those who have not said who they are; and who makes room.

When a limit is reached, somebody who has not said who he is goes, never somebody who has. In this order:

* one whose login was refused, or whose connection is at its end already: nothing more comes of it;
* one of the address that has the most of them: a flood is held against where it comes from. Of that address's, one
  that had its time (`GRACE_SECONDS`) and did not use it, the oldest first; else the newest.

Who comes is the newest of its address. So a flood refuses itself, at the cost of an accept; somebody from elsewhere
is let in at the flood's expense; and whoever was let in has `GRACE_SECONDS` that nobody from an address with as few
can take away. With as many addresses as places nobody has the most: then places pass on as their time is over, and who
asks again gets one (docs/decisions/0011-shedding.md weighs the alternatives).

An IPv6 address counts as its /64, which is what one host is commonly given. Behind a balancer the address it names
counts; until then the connection is the balancer's. Used by edge.reception; every operation takes constant time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.core.identity import Address
from gateway.core.meters import Cell
from gateway.core.origin import origin as _origin
from gateway.core.reasons import Reason
from gateway.core.settings import Limits
from gateway.edge import reasons

GRACE_SECONDS = 3.0
"""What an honest client needs at most, over a slow network, from its connection to its authentication."""

Origin = tuple[bool, int, int]
"""Whose a connection is for fairness: whether it is a balancer's own, and its core.origin."""


def origin(address: Address, balancer: bool = False) -> Origin:
    return balancer, *_origin(address)


def nobody(limit: str) -> None:
    """Until it is known what to end, and afterwards."""


@dataclass(slots=True, eq=False)
class Place:
    """One connection's place among the counted."""

    origin: Origin
    since: float
    """Monotonic time of its acceptance."""
    shed: Callable[[str], None] = nobody
    """Ends the connection at once, its place given back before it returns; told the limit that was reached."""
    authenticated: bool = False
    spent: bool = False
    """Nothing more comes of it: its login was refused, or it is at its end."""


class Others(Protocol):
    """The other workers of this gateway, whose connections count against the same limits."""

    def total(self) -> int: ...

    def unauthenticated(self) -> int: ...

    def of(self, theirs: Origin) -> int:
        """Their connections of an origin."""

    def tell(self, total: int, unauthenticated: int) -> None:
        """What this worker has now."""

    def tell_of(self, theirs: Origin, count: int) -> None:
        """What it has of an origin."""


class Nobody:
    """There are no other workers."""

    def total(self) -> int:
        return 0

    def unauthenticated(self) -> int:
        return 0

    def of(self, theirs: Origin) -> int:
        del theirs
        return 0

    def tell(self, total: int, unauthenticated: int) -> None:
        pass

    def tell_of(self, theirs: Origin, count: int) -> None:
        pass


class Admission:
    """A place is taken with `enter` and given back with `leave`, exactly once each. One per process; who makes room is
    found among this process's own connections, which are as mixed as the others'."""

    def __init__(self, limits: Limits, unauthenticated: Cell, others: Others | None = None) -> None:
        self._limits = limits
        self._others = others if others is not None else Nobody()
        self._unauthenticated = unauthenticated
        self._counts: dict[Origin, int] = {}
        """Connections of each origin, authenticated or not."""
        self._waiting: dict[Origin, dict[Place, None]] = {}
        """Those who have not said who they are and still may, oldest first."""
        self._crowds: dict[int, dict[Origin, None]] = {}
        """How many of these -> the origins that have so many, in the order in which they came to it."""
        self._most = 0
        self._spent: dict[Place, None] = {}
        self._spent_of: dict[Origin, dict[Place, None]] = {}
        self.total = 0
        self.unauthenticated = 0

    def use(self, limits: Limits) -> None:
        """Count against these from now on."""
        self._limits = limits

    def enter(self, comer: Place) -> Reason | None:
        """Take a place, or say why there is none. Clients behind a balancer have addresses of their own."""
        limits, now = self._limits, comer.since
        if self._address_full(comer.origin) and not self._room_of("connections_per_address_max", comer.origin, now):
            return reasons.CONNECTIONS_PER_ADDRESS_MAX
        others = self._others
        full = self.total + others.total() >= limits.connections_max
        if full and not self._room_for("connections_max", comer.origin, now):
            return reasons.CONNECTIONS_MAX
        full = self.unauthenticated + others.unauthenticated() >= limits.unauthenticated_max
        if full and not self._room_for("unauthenticated_max", comer.origin, now):
            return reasons.UNAUTHENTICATED_MAX
        self.total += 1
        self._give_to(comer.origin)
        self._add_waiting(comer)
        self._count_unauthenticated(1)
        return None

    def move(self, place: Place, client: Address, now: float) -> Reason | None:
        """The balancer has said who the client is: the place is that address's now, or there is none for it."""
        theirs = origin(client)
        if self._address_full(theirs) and not self._room_of("connections_per_address_max", theirs, now):
            return reasons.CONNECTIONS_PER_ADDRESS_MAX
        self._remove(place)
        self._take_from(place.origin)
        place.origin = theirs
        self._give_to(theirs)
        self._add_waiting(place)
        return None

    def authenticated(self, place: Place) -> None:
        """It has said who it is: from now on its place is its own."""
        place.authenticated = True
        self._remove(place)
        self._count_unauthenticated(-1)

    def spend(self, place: Place) -> None:
        """Nothing more comes of it; of somebody unauthenticated the place is the first to be wanted back."""
        if not place.spent and not place.authenticated:
            self._remove(place)
            place.spent = True
            self._spent[place] = None
            self._spent_of.setdefault(place.origin, {})[place] = None

    def leave(self, place: Place) -> None:
        self.total -= 1
        self._take_from(place.origin)
        if not place.authenticated:
            self._remove(place)
            self._count_unauthenticated(-1)
        else:
            self._others.tell(self.total, self.unauthenticated)

    # ---- who goes ---------------------------------------------------------------------------------------------

    def _address_full(self, theirs: Origin) -> bool:
        most = self._limits.connections_per_address_max
        return not theirs[0] and self._counts.get(theirs, 0) + self._others.of(theirs) >= most

    def _room_of(self, limit: str, theirs: Origin, now: float) -> bool:
        """Within one address's share: whoever has the least claim there."""
        return self._shed(limit, next(iter(self._spent_of.get(theirs, ())), None) or self._over(theirs, now))

    def _room_for(self, limit: str, comer: Origin, now: float) -> bool:
        return self._shed(limit, next(iter(self._spent), None) or self._last(comer, now))

    def _shed(self, limit: str, victim: Place | None) -> bool:
        if victim is None:
            return False
        before = self.total
        victim.shed(limit)
        return self.total < before

    def _last(self, comer: Origin, now: float) -> Place | None:
        """Who goes for somebody from there; None: nobody, the newcomer is the one with the least claim."""
        own = len(self._waiting.get(comer, ())) + 1
        if own > self._most:
            return self._over(comer, now)
        crowd = self._crowds[self._most]
        oldest = self._over(next(iter(crowd)), now)
        if oldest is not None or own == self._most:
            return oldest
        return next(reversed(self._waiting[next(reversed(crowd))]))

    def _over(self, theirs: Origin, now: float) -> Place | None:
        """The oldest of an origin that had its time."""
        for place in self._waiting.get(theirs, ()):
            return place if now - place.since >= GRACE_SECONDS else None
        return None

    # ---- counting ---------------------------------------------------------------------------------------------

    def _add_waiting(self, place: Place) -> None:
        theirs = self._waiting.setdefault(place.origin, {})
        theirs[place] = None
        self._recount(place.origin, len(theirs) - 1, len(theirs))

    def _remove(self, place: Place) -> None:
        if place.spent:
            del self._spent[place]
            theirs = self._spent_of[place.origin]
            del theirs[place]
            if not theirs:
                del self._spent_of[place.origin]
            return
        theirs = self._waiting[place.origin]
        del theirs[place]
        self._recount(place.origin, len(theirs) + 1, len(theirs))
        if not theirs:
            del self._waiting[place.origin]

    def _recount(self, theirs: Origin, before: int, after: int) -> None:
        if before:
            crowd = self._crowds[before]
            del crowd[theirs]
            if not crowd:
                del self._crowds[before]
        if after:
            self._crowds.setdefault(after, {})[theirs] = None
        if after > before:
            self._most = max(self._most, after)
        elif self._most not in self._crowds:
            self._most = after  # it was the only one with so many

    def _give_to(self, theirs: Origin) -> None:
        count = self._counts[theirs] = self._counts.get(theirs, 0) + 1
        self._others.tell_of(theirs, count)

    def _take_from(self, theirs: Origin) -> None:
        left = self._counts[theirs] - 1
        self._others.tell_of(theirs, left)
        if left:
            self._counts[theirs] = left
        else:
            del self._counts[theirs]

    def _count_unauthenticated(self, by: int) -> None:
        self.unauthenticated += by
        self._unauthenticated.value = self.unauthenticated
        self._others.tell(self.total, self.unauthenticated)

"""One budget of buffered bytes for the whole process, shared out fairly between principals.

A frame's whole size is reserved when its length is read; a connection without its reservation is not read, so that
what is in memory is what was reserved, and each connection's free allowance
(`limits.buffered_bytes_free_per_connection`).
The pumps ask; nothing here does I/O.

The rules of sharing, each of which a test shows:

* A principal may hold no more than what it leaves free (a dynamic threshold): alone it has half of the budget, and
  the more others hold, the less is its share. A principal that holds nothing may have one frame wherever it fits,
  and its small frames are measured by the small ones it holds alone: its own large ones do not stop them.
* Large reservations (over a sixteenth) have three quarters at most, so that small ones always find room; and while a
  large one waits, small ones have no more than the last quarter, so that the room for it is not nibbled away.
* Those who wait are served as bytes come back: principals in turn, each principal's in order. One whose principal is
  over its share is passed over; one that waits for room alone keeps its place before later ones of its kind.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Literal

from gateway.core.identity import Principal

Owner = Principal | None
"""Whose share it is; None for what nobody has authenticated for yet."""

Schedule = Callable[[Callable[[], None]], object]
"""Calls soon, but not now: the loop's `call_soon`."""


class Reservation:
    """Bytes held, or waited for. `release` gives them back, or gives up waiting; doing so twice does nothing."""

    __slots__ = ("_budget", "granted", "large", "octets", "owner", "wake")

    def __init__(self, budget: Budget, owner: Owner, octets: int, wake: Callable[[], None] | None) -> None:
        self._budget = budget
        self.owner = owner
        self.octets = octets
        self.large = octets > budget.large
        self.wake = wake
        self.granted = False

    def release(self) -> None:
        octets, self.octets = self.octets, 0
        if octets:
            self._budget._release(self, octets)


class Budget:
    """Reservations out of `octets_max` bytes. One per process."""

    def __init__(self, octets_max: int, schedule: Schedule) -> None:
        self.octets_max = octets_max
        self.used = 0
        self.at_ease = True
        """Less than half is used: pumps may then take large chunks in one go."""
        self.large = octets_max // 16
        """A reservation above this is a large one."""
        self.large_max = octets_max - octets_max // 4
        """The most that large reservations hold together, and so the largest frame that can ever be granted."""
        self.waits = 0
        """Reservations that had to wait, since the start."""
        self._large_used = 0
        self._held: dict[tuple[Owner, bool], int] = {}
        """By owner and whether large."""
        self._waiting: OrderedDict[tuple[Owner, bool], deque[Reservation]] = OrderedDict()
        """By owner and whether large: a principal's small frames do not stand behind its large ones."""
        self._waiting_count = [0, 0]
        """Small, large."""
        self._schedule = schedule
        self._serving = False

    def resize(self, octets_max: int) -> None:
        """So many bytes from now on. What is held stays held, and counts for what it was when it was asked for; one
        that waits and cannot be granted any more ends by its frame's deadline."""
        self.octets_max = octets_max
        self.large = octets_max // 16
        self.large_max = octets_max - octets_max // 4
        self.at_ease = self.used * 2 < octets_max
        self._serve_soon()

    @property
    def waiting(self) -> int:
        return sum(self._waiting_count)

    def held(self, owner: Owner) -> int:
        return self._held.get((owner, False), 0) + self._held.get((owner, True), 0)

    def reserve(self, owner: Owner, octets: int, wake: Callable[[], None]) -> Reservation:
        """Ask for bytes. If they are not `granted` at once, `wake` is called when they are."""
        reservation = Reservation(self, owner, octets, wake)
        large = reservation.large
        if not self._waiting_count[large] and self._fits(reservation) == "yes":
            self._grant(reservation)
        else:
            self.waits += 1
            self._waiting.setdefault((owner, large), deque()).append(reservation)
            self._waiting_count[large] += 1
            self._serve_soon()
        return reservation

    def charge(self, owner: Owner, octets: int) -> Reservation:
        """Count bytes that are in memory already and cannot wait (the unsent rest of a write)."""
        reservation = Reservation(self, owner, octets, None)
        self._grant(reservation)
        return reservation

    def _fits(self, reservation: Reservation) -> Literal["yes", "over-share", "no-room"]:
        octets = reservation.octets
        large = reservation.large
        held = self.held(reservation.owner) if large else self._held.get((reservation.owner, False), 0)
        free = self.octets_max - self.used - octets
        if held and held + octets > free:
            return "over-share"
        if free < 0:
            return "no-room"
        if large:
            return "yes" if self._large_used + octets <= self.large_max else "no-room"
        small_max = self.octets_max - self.large_max if self._waiting_count[True] else self.octets_max
        return "yes" if self.used - self._large_used + octets <= small_max else "no-room"

    def _grant(self, reservation: Reservation) -> None:
        octets = reservation.octets
        reservation.granted = True
        if not octets:
            return
        self.used += octets
        self.at_ease = self.used * 2 < self.octets_max
        key = (reservation.owner, reservation.large)
        self._held[key] = self._held.get(key, 0) + octets
        if reservation.large:
            self._large_used += octets

    def _release(self, reservation: Reservation, octets: int) -> None:
        large = reservation.large
        if reservation.granted:
            self.used -= octets
            self.at_ease = self.used * 2 < self.octets_max
            key = (reservation.owner, large)
            left = self._held[key] - octets
            if left:
                self._held[key] = left
            else:
                del self._held[key]
            if large:
                self._large_used -= octets
        else:
            key = (reservation.owner, large)
            queue = self._waiting[key]
            queue.remove(reservation)
            if not queue:
                del self._waiting[key]
            self._waiting_count[large] -= 1
        self._serve_soon()

    def _serve_soon(self) -> None:
        if self._waiting and not self._serving:
            self._serving = True
            self._schedule(self._serve)

    def _serve(self) -> None:
        """Grant what fits, principals in turn, until a whole round grants nothing."""
        self._serving = False
        served = True
        while served:
            served = False
            blocked = [False, False]
            for key in list(self._waiting):
                large = key[1]
                if blocked[large]:
                    continue
                queue = self._waiting[key]
                fits = self._fits(queue[0])
                if fits == "yes":
                    served = True
                    self._serve_first(key, queue)
                elif fits == "no-room":
                    blocked[large] = True

    def _serve_first(self, key: tuple[Owner, bool], queue: deque[Reservation]) -> None:
        reservation = queue.popleft()
        if queue:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        self._waiting_count[key[1]] -= 1
        self._grant(reservation)
        if reservation.wake is not None:
            self._schedule(reservation.wake)

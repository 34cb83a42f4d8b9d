"""Denials that repeat: clients ask for the metadata of a denied topic several times a second, for as long as they live.

The audit has the first of each and, after an interval, the next one with how many there were in between. Nothing is
lost by it: what no later line told is counted when the connection ends. One per connection; called by its view.
"""

from __future__ import annotations

INTERVAL = 10.0
"""Seconds between two lines of one connection about the same operation on the same resource."""
REMEMBERED_MAX = 1000
"""Denials remembered; the one written longest ago gives way, and is news when it comes again."""

Access = tuple[str, str, str]
"""(kind, operation, name)"""


class Repeats:
    """When each denial was written last, and how often it came since."""

    __slots__ = ("_seen", "_untold")

    def __init__(self) -> None:
        self._seen: dict[Access, tuple[float, int]] = {}
        self._untold = 0

    def repeated(self, access: Access, now: float) -> bool:
        """Whether this denial was written a short while ago; it is counted then."""
        at, count = self._seen.get(access, (-INTERVAL, 0))
        if now - at >= INTERVAL:
            return False
        self._seen[access] = (at, count + 1)
        return True

    def written(self, access: Access, now: float) -> int:
        """The denial is written now; how many of it were not, since the last time."""
        _, count = self._seen.pop(access, (0.0, 0))
        if len(self._seen) >= REMEMBERED_MAX:
            self._untold += self._seen.pop(next(iter(self._seen)))[1]
        self._seen[access] = (now, 0)
        return count

    def forget(self) -> None:
        """Every denial is news again: the rights have changed."""
        self._untold += sum(count for _, count in self._seen.values())
        self._seen.clear()

    def take_untold(self) -> int:
        """How many no line has told and none will; from now on they count as told."""
        untold, self._untold = self._untold, 0
        return untold

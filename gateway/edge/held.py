"""What one session holds itself, in the process's budget (core.session.Holding). Made by the pump where it is offered.

More is waited for, as for a frame's room; less is given back at once.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.session import Holding
from gateway.edge.budget import Budget, Owner, Reservation


class Held:
    """One connection's. `wake` is called when what was waited for has come."""

    __slots__ = ("_budget", "_octets", "_reservations", "_session", "_wake")

    def __init__(self, session: Holding, budget: Budget, wake: Callable[[], None]) -> None:
        self._session = session
        self._budget = budget
        self._wake = wake
        self._reservations: list[Reservation] = []
        """The last one may wait; the others are granted."""
        self._octets = 0

    @property
    def waiting(self) -> bool:
        return bool(self._reservations) and not self._reservations[-1].granted

    def look(self, owner: Owner) -> bool:
        """After every call: reserve what has come to be held. Whether that has to wait."""
        holds = self._session.holds
        if holds != self._octets:
            if holds > self._octets and not self.waiting:
                self._reservations.append(self._budget.reserve(owner, holds - self._octets, self._wake))
                self._octets = holds
            elif holds < self._octets:
                self.clear()
                if holds:
                    self._reservations.append(self._budget.charge(owner, holds))
                self._octets = holds
        return self.waiting

    def clear(self) -> None:
        """Nothing is held any more."""
        for each in self._reservations:
            each.release()
        self._reservations.clear()
        self._octets = 0

"""How many connections there may be: in all, per address, and of those who have not said who they are."""

from __future__ import annotations

from gateway.core.identity import Address
from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.core.settings import Limits
from gateway.edge import reasons


class Admission:
    """Counts; a place is taken with `enter` and given back with `leave`, exactly once each. One per process."""

    def __init__(self, limits: Limits, unauthenticated: Cell) -> None:
        self._limits = limits
        self._unauthenticated = unauthenticated
        self._addresses: dict[Address, int] = {}
        self.total = 0
        self.unauthenticated = 0

    def use(self, limits: Limits) -> None:
        """Count against these from now on."""
        self._limits = limits

    def enter(self, address: Address, named: bool = False) -> Reason | None:
        """Take a place, or say why there is none. `named`: a balancer's address, whose clients have their own."""
        limits = self._limits
        if self.total >= limits.connections_max:
            return reasons.CONNECTIONS_MAX
        if not named and self._addresses.get(address, 0) >= limits.connections_per_address_max:
            return reasons.CONNECTIONS_PER_ADDRESS_MAX
        if self.unauthenticated >= limits.unauthenticated_max:
            return reasons.UNAUTHENTICATED_MAX
        self.total += 1
        self._addresses[address] = self._addresses.get(address, 0) + 1
        self._count_unauthenticated(1)
        return None

    def move(self, balancer: Address, client: Address) -> Reason | None:
        """The balancer has said who the client is: the place is the client's now, also if it is one too many."""
        self._take_from(balancer)
        count = self._addresses[client] = self._addresses.get(client, 0) + 1
        return reasons.CONNECTIONS_PER_ADDRESS_MAX if count > self._limits.connections_per_address_max else None

    def authenticated(self) -> None:
        self._count_unauthenticated(-1)

    def leave(self, address: Address, authenticated: bool) -> None:
        self.total -= 1
        self._take_from(address)
        if not authenticated:
            self._count_unauthenticated(-1)

    def _take_from(self, address: Address) -> None:
        left = self._addresses[address] - 1
        if left:
            self._addresses[address] = left
        else:
            del self._addresses[address]

    def _count_unauthenticated(self, by: int) -> None:
        self.unauthenticated += by
        self._unauthenticated.value = self.unauthenticated

"""The table of open connections: one line for each, from its acceptance until its sockets are closed.

Kept by edge.reception; edge.server and ops.status read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.identity import Address, Certificate, Principal
from gateway.core.session import Session
from gateway.edge.admission import Place
from gateway.edge.arrival import Arrival
from gateway.edge.ending import Ending
from gateway.edge.pump import Pump


@dataclass(slots=True)
class Open:
    """One line of the table of connections."""

    connection: str
    listener: str
    address: Address
    since: float
    """Wall time."""
    place: Place
    session: Session | None = None
    pump: Pump | None = None
    through: Address | None = None
    """The balancer that named `address`, None where the client connected itself."""
    endpoint: str = ""
    """The private-link endpoint that the balancer named."""
    arrival: Arrival | None = None
    ending: Ending | None = None
    certificate: Certificate | None = None

    @property
    def principal(self) -> Principal | None:
        return self.session.principal if self.session is not None else None


class Connections:
    """All lines, oldest first."""

    def __init__(self) -> None:
        self._lines: dict[str, Open] = {}
        self._emptied: asyncio.Event | None = None

    def __iter__(self) -> Iterator[Open]:
        yield from self._lines.values()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: Open) -> None:
        self._lines[line.connection] = line

    def remove(self, line: Open) -> bool:
        """False: it was not there any more."""
        found = self._lines.pop(line.connection, None) is not None
        if not self._lines and self._emptied is not None:
            self._emptied.set()
        return found

    async def emptied(self) -> None:
        """Wait until no line is left. One caller at a time."""
        if self._lines:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

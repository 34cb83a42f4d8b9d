"""What all pumps of the process share, what those of one listener share, and the two doors to the outside they have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.core.clock import Clock
from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.core.session import Ask, Endpoint, Fact
from gateway.core.settings import Limits
from gateway.edge.budget import Budget
from gateway.edge.resets import Resets
from gateway.edge.spares import Spares
from gateway.edge.streams import Stream
from gateway.edge.turns import Turns


class DialFailed(Exception):
    """A broker could not be reached: the reason, and what exactly."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.code}: {detail}")
        self.reason = reason
        self.detail = detail


Dial = Callable[[Endpoint], Awaitable[Stream]]
"""Opens a verified connection to a broker. Raises DialFailed."""
Answer = Callable[[Ask], Awaitable[Fact]]


@dataclass(frozen=True, slots=True)
class Process:
    """What all pumps of the process share."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    limits: Limits
    budget: Budget
    spares: Spares
    scratch: memoryview
    answer: Answer
    exceptions: Cell
    turns: Turns
    """Of connections whose message is being decided in slices."""
    resets: Resets


@dataclass(frozen=True, slots=True)
class Port:
    """What the pumps of one listener share."""

    listener: str
    dial: Dial
    from_clients: Cell
    to_clients: Cell
    from_upstream: Cell
    to_upstream: Cell

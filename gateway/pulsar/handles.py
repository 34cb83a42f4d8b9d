"""The producers and consumers of one connection, by the ids that the client gave them.

Most commands carry only such an id. An id stands for what it was opened for until the broker has let go of it: it
cannot be opened for something else before, or the broker would answer with the old one (ServerCnx does so), and
whoever lost a right would go on under another's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.core.audit import AllowedTally
from gateway.core.identity import Principal
from gateway.core.limits import Account

Kind = Literal["producer", "consumer"]
Access = tuple[str, str, str]
"""(kind of resource, operation, name)"""
HANDLES_MAX = 10_000
"""Producers and consumers of one connection, each."""


@dataclass(slots=True)
class Handle:
    """One producer or consumer. `accesses` is what it needs as long as it lives; the first one is summed."""

    kind: Kind
    id: int
    topic: str
    subscription: str
    accesses: tuple[Access, ...]
    closing: bool = False
    """Closed by somebody; the broker has not yet let go of it. Nothing passes any more."""
    sums: list[int] = field(default_factory=lambda: [0, 0])
    generation: int = -1

    def same(self, topic: str, subscription: str) -> bool:
        return self.topic == topic and self.subscription == subscription


class Handles:
    """All of one connection and one kind; counted for its principal."""

    def __init__(self, kind: Kind, account: Account) -> None:
        self.kind = kind
        self._account = account
        self.by_id: dict[int, Handle] = {}
        """Also those that are closing. Read by runs of plain frames, changed here alone."""

    def __len__(self) -> int:
        return len(self.by_id)

    def all(self) -> list[Handle]:
        return list(self.by_id.values())

    def get(self, handle_id: int) -> Handle | None:
        """The handle, if anything may pass for it."""
        handle = self.by_id.get(handle_id)
        return None if handle is None or handle.closing else handle

    def held(self, handle_id: int) -> Handle | None:
        """The handle, also one that is closing."""
        return self.by_id.get(handle_id)

    def open(self, handle: Handle) -> bool:
        """Enter one. False if there are too many, here or of the principal."""
        if len(self.by_id) >= HANDLES_MAX or not self._account.open_handle(self.kind):
            return False
        self.by_id[handle.id] = handle
        return True

    def forget(self, handle_id: int) -> None:
        """The broker has let go of it."""
        if self.by_id.pop(handle_id, None) is not None:
            self._account.close_handle(self.kind)

    def clear(self) -> None:
        for handle_id in list(self.by_id):
            self.forget(handle_id)


def sums(handle: Handle, tally: AllowedTally, principal: Principal, system: str, backend: str) -> list[int]:
    """The live [requests, bytes] of a handle's first access, kept until the tally is drained."""
    if handle.generation != tally.generation:
        kind, operation, name = handle.accesses[0]
        handle.sums = tally.entry(principal, system, backend, operation, kind, name)
        handle.generation = tally.generation
    return handle.sums

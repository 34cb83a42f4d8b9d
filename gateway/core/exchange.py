"""Request and answer over a connection somebody else opens: how I/O-free code talks to a backend of its own accord."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.core.session import Endpoint


class ExchangeFailed(Exception):
    """The backend could not be reached, ended the connection, or did not answer in time. Says which and why."""


class Exchange(Protocol):
    """One open connection to a backend, one request at a time."""

    async def call(self, frame: bytes) -> bytes:
        """Send one frame (without its length prefix) and return the next one. Raises ExchangeFailed."""
        ...

    def close(self) -> None: ...


Dial = Callable[[Endpoint], Awaitable[Exchange]]
"""Opens a connection (TLS verified, unless the backend is marked plaintext). Raises ExchangeFailed."""

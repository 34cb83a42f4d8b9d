"""The last moments of a connection whose session has ended: flush, say goodbye, wait for the echo, let go.

What was decided before the end is still written to both sides, for `FLUSH_SECONDS` at most; to a broker that is being
dialled as well, if it answers within that time. The client is then told by
TLS close_notify and FIN, and its own goodbye is awaited for `LINGER_SECONDS`: to close a socket while octets arrive
makes the system send a reset, which can destroy the very answer (or alert) that says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.edge.buffers import Outbox
from gateway.edge.streams import Stream, StreamLost

FLUSH_SECONDS = 5.0
LINGER_SECONDS = 2.0
DROPPED_MAX = 64
"""Readings of a client that keeps on sending, before it is cut off."""


class Ending:
    """Ends one connection's streams by itself; `when_done` is called once, when both sockets are closed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        scratch: memoryview,
        client: Stream,
        to_client: Outbox,
        upstream: Stream | None,
        to_upstream: Outbox,
        stop_dialling: Callable[[], None] | None = None,
    ) -> None:
        """`stop_dialling`: given if the upstream is being dialled and is owed something; then one of `dialled` and
        `not_dialled` is called, or this."""
        self._loop = loop
        self._scratch = scratch
        self._client: Stream | None = client
        self._to_client = to_client
        self._upstream = upstream
        self._to_upstream = to_upstream
        self._stop_dialling = stop_dialling
        self._saying_goodbye = False
        self._dropped = 0
        self._timers: list[asyncio.TimerHandle] = []
        self.when_done: Callable[[], None] | None = None

    def start(self, client_gone: bool) -> None:
        self._timers.append(self._loop.call_later(FLUSH_SECONDS, self._flush_late))
        if self._upstream is not None:
            self._take_upstream(self._upstream)
        elif self._stop_dialling is None:
            self._to_upstream.clear()
        if client_gone:
            self._drop_client()
        elif self._client is not None:
            self._client.start(self._drop, self._flush_client)
            self._client.watch_reading(False)
            self._flush_client()
        self._see_done()

    def dialled(self, upstream: Stream) -> None:
        """The dial that was under way when the session ended."""
        self._stop_dialling = None
        self._upstream = self._to_upstream.stream = upstream
        self._take_upstream(upstream)

    def not_dialled(self) -> None:
        self._stop_dialling = None
        self._to_upstream.clear()
        self._see_done()

    def _take_upstream(self, upstream: Stream) -> None:
        upstream.start(self._ignore_upstream, self._flush_upstream)
        upstream.watch_reading(False)
        self._flush_upstream()

    def abort(self) -> None:
        """Let go now."""
        self._drop_upstream()
        self._drop_client()
        self._see_done()

    def _ignore_upstream(self) -> None:
        """Answers that come now are owed to nobody; they are left in the socket."""

    def _flush_upstream(self) -> None:
        upstream = self._upstream
        if upstream is None:
            return
        try:
            self._to_upstream.flush()
        except StreamLost:
            self._drop_upstream()
        else:
            if self._to_upstream.pending:
                upstream.watch_writing(True)
                return
            upstream.finish()
            self._drop_upstream()
        self._see_done()

    def _flush_client(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            self._to_client.flush()
        except StreamLost:
            self._drop_client()
        else:
            if self._to_client.pending or not client.finish():
                client.watch_writing(True)
                return
            client.watch_writing(False)
            if not self._saying_goodbye:
                self._saying_goodbye = True
                self._timers.append(self._loop.call_later(LINGER_SECONDS, self.abort_client))
            self._drop()
        self._see_done()

    def _drop(self) -> None:
        """Throw away what the client still sends, until it has ended as well."""
        client = self._client
        if client is None:
            return
        self._dropped += 1
        if client.drop(self._scratch) or self._dropped > DROPPED_MAX:
            self._drop_client()
        else:
            client.watch_reading(True)
        self._see_done()

    def abort_client(self) -> None:
        self._drop_client()
        self._see_done()

    def _flush_late(self) -> None:
        self._drop_upstream()
        if not self._saying_goodbye:
            self._drop_client(reset=True)
        self._see_done()

    def _drop_client(self, reset: bool = False) -> None:
        self._to_client.clear()
        if self._client is not None:
            self._client.close(reset)
            self._client = None

    def _drop_upstream(self) -> None:
        self._to_upstream.clear()
        stop_dialling, self._stop_dialling = self._stop_dialling, None
        if stop_dialling is not None:
            stop_dialling()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def _see_done(self) -> None:
        if self._client is None and self._upstream is None and self._stop_dialling is None:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
            when_done, self.when_done = self.when_done, None
            if when_done is not None:
                when_done()

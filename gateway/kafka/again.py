"""Metadata that one connection asks for in words that were decided before: found, counted, and answered as before.

The memory is the backend's (kafka.remembered) and shared by all who have the same rights; this is one connection's way
to it. Octets are compared with octets, whole, so that nobody can make up a request or an answer that is taken for
another's. Called by the general way (kafka.traffic, kafka.relay) and by both forms of the short way.
"""

from __future__ import annotations

from gateway.kafka.context import ListenerContext
from gateway.kafka.produce_fetch import FastPath
from gateway.kafka.remembered import Asked
from gateway.kafka.view import SessionView


class Again:
    """One identity's on one connection."""

    __slots__ = ("_backend", "_context", "_counted", "_fast", "_pairs", "_view")

    def __init__(self, context: ListenerContext, view: SessionView, fast: FastPath) -> None:
        self._backend = context.backend
        self._context = context
        self._view = view
        self._fast = fast
        self._counted = (0, 0)
        self._pairs: list[list[int]] = []

    def find(self, version: int, body: bytes) -> Asked | None:
        """The same request as it was decided before under the same rights."""
        backend = self._backend
        listener = self._context.listener
        return backend.metadata.find(self._view.rights, listener, version, body, backend.auto_create_topics)

    def count(self, asked: Asked) -> None:
        """Sum what such a request is allowed, as each time. What is added to is looked up once for a generation."""
        counted = (asked.number, self._fast.generation)
        if counted != self._counted:
            self._pairs = [self._view.tally_pair(*access) for access in asked.accesses]
            self._counted = counted
        for pair in self._pairs:
            pair[0] += 1

    def holds(self, asked: Asked) -> bool:
        """Whether answers to it are still what this connection would be told."""
        return asked.rights is self._view.rights and asked.listener is self._context.listener

"""The refusal of one connection's login: written to the audit at once, told to the client after its delay.

Meanwhile the connection is not read, and no request of it is taken; answers of the broker to earlier requests still go
out, where it was a re-authentication. What is told then is what the broker would have said (KIP-152), unless the
connection's time is over before. OAUTHBEARER refuses in two steps: the first of them waits. Called by the session.
"""

from __future__ import annotations

from gateway.core.connection_log import ConnectionLog
from gateway.core.session import NEVER, Close, Peer
from gateway.kafka.authentication import Authentication, Step
from gateway.kafka.context import ListenerContext

LAST_SECOND = 1.0
"""Before the connection's time is over the refusal is told, so that it is not a silent end that the client sees."""


class Refusal:
    """At most one for each connection: after it nothing but the end follows. `due`: when it is to be told."""

    __slots__ = ("_context", "_log", "_peer", "_written", "due", "step")

    def __init__(self, context: ListenerContext, peer: Peer, log: ConnectionLog) -> None:
        self._context = context
        self._peer = peer
        self._log = log
        self._written = False
        self.step: Step | None = None
        """What waits to be told."""
        self.due = NEVER

    def held_back(self, refused: Close, step: Step, sasl: Authentication, now: float, ends_at: float) -> bool:
        """Write it down. True if the client is told later, when `due`; then `step` is kept here."""
        if self._written:
            return False
        self._written = True
        delay = self._delay(step, now, ends_at)
        self._log.refused(refused.reason, refused.detail, sasl.mechanism, sasl.software, delay)
        if delay:
            self.step, self.due = step, now + delay
        return delay > 0.0

    def take(self) -> Step:
        """The time has come."""
        step, self.step, self.due = self.step, None, NEVER
        assert step is not None
        return step

    def _delay(self, step: Step, now: float, ends_at: float) -> float:
        failures = self._context.failures
        if step.failed is None or failures is None:
            return 0.0
        most = self._context.limits.failed_login_delay_max
        delay = failures.delay(self._peer.address, step.failed, now, most)
        return max(0.0, min(delay, ends_at - LAST_SECOND - now))

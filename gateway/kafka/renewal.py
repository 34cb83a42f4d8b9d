"""Proves the gateway's own account again on a client's upstream connection, before the broker wants it (KIP-368).

When the time has come, a SaslHandshake follows the requests that are on their way. The broker reads SASL messages only
from there on, so no request of the client's is taken until it has agreed; what was sent before is answered before, and
nothing of the exchange reaches the client. An idle connection is woken by the session's deadline.

A connection whose account cannot be proven again ends, by a reason of its own: the broker would end it at the next
request, without any. Called by the session.
"""

from __future__ import annotations

import random
import struct

from gateway.core.accounts import ACCOUNT_UNAVAILABLE, LoginFailed
from gateway.core.session import NEVER, Close, Effects
from gateway.kafka.answers import AnswerQueue, Expected
from gateway.kafka.context import ListenerContext
from gateway.kafka.login import CORRELATION_ID, Login
from gateway.kafka.login_reasons import ACCOUNT_RENEWAL_TIMEOUT
from gateway.kafka.meters import RENEWALS

EARLIEST, LATEST = 0.70, 0.85
"""Of the lifetime that is left: by chance in between, so that connections do not renew all at once."""
INTERVAL_MIN = 1.1
"""Seconds since the last login: Kafka refuses a SaslHandshake within one second of the last."""
RETRY_SECONDS = 0.5
"""Until it is looked again whether there is a credential."""
ANSWER_SECONDS = 10.0
"""For each of the broker's answers, from when it is the next one due."""


class Renewal:
    """One upstream connection's. `deadline`: monotonic time of the next `tick`."""

    __slots__ = ("_context", "_due", "_effects", "_login", "_queue", "_until", "deadline")

    def __init__(self, context: ListenerContext, queue: AnswerQueue, effects: Effects) -> None:
        self._context = context
        self._queue = queue
        self._effects = effects
        self._login: Login | None = None
        self._due = False
        self._until = NEVER
        self.deadline = NEVER

    @property
    def under_way(self) -> bool:
        return self._login is not None

    def proven(self, until: float, now: float) -> None:
        """The broker believes the account until then."""
        self._until = until
        self._login = None
        self._due = False
        if until == NEVER:
            self.deadline = NEVER
            return
        share = random.uniform(EARLIEST, LATEST)  # noqa: S311  (spread over time, no secret)
        self.deadline = now + max(INTERVAL_MIN, (until - now) * share)

    def tick(self, now: float) -> Close | None:
        """Begin if it is time; or say that the broker took too long."""
        if now < self.deadline:
            return None
        if self._login is not None:
            return self._failed(LoginFailed(ACCOUNT_RENEWAL_TIMEOUT, f"within {ANSWER_SECONDS:g} s"))
        account = self._context.account
        credential = account.credential() if account is not None else None
        if credential is None:
            if now >= self._until:
                return self._failed(LoginFailed(ACCOUNT_UNAVAILABLE, "the login could not be renewed"))
            self.deadline = min(now + RETRY_SECONDS, self._until)
            return None
        try:
            self._login = Login(credential)
        except LoginFailed as failed:
            return self._failed(failed)
        self._send(self._login.begin())
        return None

    def answered(self, frame: memoryview, now: float) -> Close | None:
        """The broker's answer to a request of ours."""
        login = self._login
        assert login is not None
        try:
            step = login.answered(frame)
        except LoginFailed as failed:
            return self._failed(failed)
        if isinstance(step, bytes):
            self._send(step)
            return None
        self.proven(now + step.lifetime, now)
        self._count("ok")
        if self._context.account is not None:
            self._context.account.renewed()
        return None

    def settle(self, now: float) -> None:
        """At the end of each of the session's calls: once nothing is due before it, the answer has a time."""
        if self._login is None or self._due:
            return
        head = self._queue.head()
        if head is not None and head.gateways:
            self._due = True
            self.deadline = now + ANSWER_SECONDS

    def _send(self, request: bytes) -> None:
        assert self._login is not None
        self._effects.to_upstream.append(struct.pack(">i", len(request)) + request)
        api_key, version = self._login.api_key, self._login.version
        self._queue.expect(Expected(CORRELATION_ID, api_key, version, version, gateways=True))
        self._due = False
        self.deadline = NEVER

    def _failed(self, failed: LoginFailed) -> Close:
        self._count(failed.reason.code)
        if self._context.account is not None:
            self._context.account.refused(failed)
        self.deadline = NEVER
        return Close(failed.reason, failed.detail)

    def _count(self, result: str) -> None:
        self._context.meters.cell(RENEWALS, self._context.backend.name, result).value += 1

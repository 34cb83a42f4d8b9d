"""Who is on a connection and until when: the step from a proven identity to its traffic.

An identity comes from a token (`proven`, by the SASL exchange) or from the client's verified certificate, which is
enough by itself. The connection is counted for its principal, and given back when it ends. The session ends with the
token or certificate, by the monotonic clock and, where the machine slept, by the wall clock too. Called by the session.
"""

from __future__ import annotations

from itertools import count

from gateway.core import proofs
from gateway.core.connection_log import CERTIFICATE, ConnectionLog
from gateway.core.identity import Identity, Principal
from gateway.core.limits import Account
from gateway.core.session import Close, Effects, Peer
from gateway.kafka import reasons
from gateway.kafka.answers import AnswerQueue
from gateway.kafka.context import ListenerContext
from gateway.kafka.traffic import Traffic


class Admission:
    """One connection's identity. `ends_at` is monotonic: the end of the time to authenticate, then of the session."""

    __slots__ = (
        "_account", "_certificate", "_context", "_decisions", "_effects", "_log", "_peer", "_queue", "ends_at",
        "frame_bytes_max", "mechanism", "traffic",
    )  # fmt: skip

    def __init__(
        self, context: ListenerContext, peer: Peer, log: ConnectionLog, queue: AnswerQueue, effects: Effects
    ) -> None:
        self._context = context
        self._peer = peer
        self._log = log
        self._queue = queue
        self._effects = effects
        self._account: Account | None = None
        self._certificate = proofs.by_certificate(peer, context.listener.tls.client_ca_name)
        self._decisions = count(1)
        self.traffic: Traffic | None = None
        self.mechanism = ""
        """How the principal was proven last; "" before it was."""
        self.frame_bytes_max = context.limits.frame_bytes_before_authentication_max
        self.ends_at = peer.login_until(context.clock.monotonic(), context.limits.authentication_timeout)

    @property
    def by_certificate(self) -> bool:
        """A certificate was shown and is not admitted yet: done in the connection's first call."""
        return self._certificate is not None

    @property
    def principal(self) -> Principal | None:
        return self.traffic.identity.principal if self.traffic is not None else None

    def current(self, now: float) -> bool:
        """Bring rights up to date, once per call; False if the time is over."""
        if now >= self.ends_at:
            return False
        traffic = self.traffic
        if traffic is None:
            return True
        wall = self._context.clock.wall()
        if wall >= traffic.identity.expires_at:  # the machine slept, or its clock was set
            return False
        traffic.current(wall)
        return True

    def admit_certificate(self, now: float) -> Close | None:
        """Begin with the certificate's identity, or say why not."""
        identity, self._certificate = self._certificate, None
        assert identity is not None
        self._log.heard()
        refused = self.proven(identity, CERTIFICATE, "", now)
        if refused is not None:
            self._log.refused(refused.reason, refused.detail, CERTIFICATE, "")
        return refused

    def proven(self, identity: Identity, mechanism: str, software: str, now: float) -> Close | None:
        """Begin, or go on with, this identity; or say why not."""
        own = self._context.account.names if self._context.account is not None else frozenset()
        if identity.principal.name in own | self._context.own_names:
            return Close(reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT, str(identity.principal))
        wall = self._context.clock.wall()
        traffic = self.traffic
        again = traffic is not None and traffic.identity.principal == identity.principal
        if traffic is not None and again:
            traffic.renew(identity, wall)
        else:
            refused = self._begin(identity, wall, now)
            if refused is not None:
                return refused
        self.mechanism = mechanism
        self.ends_at = now + (identity.expires_at - wall)
        self._log.authenticated(identity, mechanism, software, again)
        return None

    def leave(self) -> None:
        """The connection has ended: give back what was counted."""
        if self.traffic is not None:
            self.traffic.stop()
            self.traffic.relay.stop()
            self.traffic.view.close()
        account, self._account = self._account, None
        if account is not None:
            account.let_go(self._queue.kept)
            account.disconnect()

    def _begin(self, identity: Identity, wall: float, now: float) -> Close | None:
        policy = self._context.policies.current
        rights = policy.rights(identity, self._context.backend.name, wall)
        account = self._context.quotas.account(identity.principal, rights.quota, now)
        if not account.connect():
            return Close(reasons.CONNECTIONS_OF_PRINCIPAL, f"{rights.quota.connections} connections")
        self.leave()  # a certificate's place, where a token follows it
        self._account = account
        self.frame_bytes_max = self._context.limits.frame_bytes_max
        self.traffic = Traffic(
            self._context, self._peer, identity, account, rights, policy, self._queue, self._effects, self._decisions
        )
        return None

"""The gateway's own connection to a Pulsar cluster: whether some broker takes it.

Called on a schedule by edge.control. Brokers that clients need become known by lookups (backend.PulsarBackend), so that
nothing else has to be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.core.accounts import UpstreamAccount
from gateway.core.exchange import Dial, ExchangeFailed
from gateway.core.session import Ask, Endpoint, Fact, Unavailable
from gateway.core.settings import Backend
from gateway.pulsar import commands, flags
from gateway.pulsar.backend import PulsarBackend
from gateway.pulsar.commands import SIZE, Malformed
from gateway.pulsar.login import greeting, own_proof

CLIENT = "gateway-control"
"""How the control connection calls itself, and in whose name it comes: a role that needs no rights."""


class PulsarControl:
    """Keeps one backend's state true."""

    def __init__(
        self, state: PulsarBackend, account: Callable[[], UpstreamAccount | None], by_certificate: bool
    ) -> None:
        """account: the gateway's own, as it is configured when it is asked for."""
        self._state = state
        self._account = account
        self._by_certificate = by_certificate

    async def refresh(self, dial: Dial) -> None:
        """Greet one of the brokers. Raises ExchangeFailed if none took it."""
        words = "no credential of the gateway's own"
        proof = own_proof(self._account(), self._by_certificate)
        for broker in self._state.bootstrap if proof is not None else ():
            try:
                exchange = await dial(broker)
                try:
                    said = await exchange.call(greeting(proof or {}, CLIENT, flags.VERSION, {}, CLIENT)[SIZE:])
                finally:
                    exchange.close()
            except ExchangeFailed as failed:
                words = str(failed)
                continue
            words = _refused(said)
            if not words:
                self._state.reached = True
                return
        raise ExchangeFailed(words)

    def use(self, settings: Backend) -> None:
        """Find the cluster by these addresses from now on; what was known of another is forgotten."""
        self._by_certificate = settings.tls.certificate is not None and settings.account is None
        self._state.use((Endpoint.of(each.lower()) for each in settings.bootstrap), settings.insecure_plaintext)

    async def answer(self, ask: Any, dial: Dial) -> Fact:
        """Sessions ask it nothing."""
        del dial
        assert isinstance(ask, Ask)
        return Unavailable(ask)

    def close(self) -> None:
        """Nothing is kept open."""


def _refused(said: bytes) -> str:
    """Why the broker did not take the greeting; "" if it did."""
    try:
        command = commands.decode(memoryview(said)[SIZE:])
    except Malformed as error:
        return str(error)
    if command.name == "connected":
        return ""
    return f"error {command.body.error}: {command.body.message}" if command.name == "error" else command.name

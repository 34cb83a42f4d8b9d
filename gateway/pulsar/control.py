"""The gateway's own connections to a Pulsar cluster: whether some broker takes it, by the binary protocol and by HTTP,
and lookups that are sent on.

Called on a schedule and on demand by edge.control, which brings connections, deadlines and retries. Brokers that
clients need become known by their lookups, so that nothing else has to be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.core.accounts import UpstreamAccount
from gateway.core.exchange import Dial, Exchange, ExchangeFailed
from gateway.core.session import Endpoint, Fact
from gateway.core.settings import Backend
from gateway.http.client1 import Http1Call
from gateway.http.messages import Response
from gateway.pulsar import commands, flags, replies
from gateway.pulsar.asks import BrokerFound, BrokerWanted
from gateway.pulsar.backend import PulsarBackend, by_certificate, endpoint, tokens_passed
from gateway.pulsar.commands import SIZE, Command, Malformed, framed
from gateway.pulsar.login import greeting, own_proof
from gateway.pulsar.relay import CONNECT, REDIRECT
from gateway.pulsar.table import SERVICE_NOT_READY

CLIENT = "gateway-control"
"""How the control connection calls itself, and in whose name it comes: a role that needs no rights."""
REDIRECTS_MAX = 10
"""Brokers asked for one lookup."""
PINGS_MAX = 3
"""Of a broker, before it answers."""
READY = b"/admin/v2/brokers/ready"
"""Whoever is known may ask for it."""
UNAUTHORIZED, SERVER_ERROR = 401, 500
AskWeb = Callable[[Endpoint, Http1Call], Awaitable[Response]]
"""Asks the web service at an address. Raises ExchangeFailed."""


class PulsarControl:
    """Keeps one backend's state true."""

    def __init__(
        self,
        state: PulsarBackend,
        account: Callable[[], UpstreamAccount | None],
        settings: Backend,
        ask_web: AskWeb | None = None,
    ) -> None:
        """`account` gives the gateway's own as it is now. `ask_web`: None where nobody is interested."""
        self._state = state
        self._account = account
        self._ask_web = ask_web
        self.use(settings)

    def use(self, settings: Backend) -> None:
        """The backend is configured so from now on (edge.control.Movable)."""
        self._by_certificate = by_certificate(settings)
        self._unproven = tokens_passed(settings) and settings.account is None
        """The gateway has nothing of its own to show: that a broker answers is enough."""

    async def refresh(self, dial: Dial) -> None:
        """Greet one of the brokers, and ask one address of the web service. Raises ExchangeFailed if none took it."""
        words = [each for each in (await self._greet_any(dial), await self._ask_any()) if each]
        if words:
            raise ExchangeFailed("; ".join(words))

    async def _greet_any(self, dial: Dial) -> str:
        """Why no broker takes the gateway, "" if one does."""
        words = ""
        for broker in self._state.bootstrap:
            try:
                exchange, refused = await self._greet(dial, broker, CLIENT)
            except ExchangeFailed as failed:
                words = str(failed)
                continue
            exchange.close()
            if not refused or self._unproven:
                self._state.reached = True
                return ""
            words = f"{broker}: {refused}"
        return words

    async def _ask_any(self) -> str:
        """Why no address of the web service answers, "" if one does."""
        web = self._state.web
        if web is None or self._ask_web is None:
            return ""
        words = "no credential of the gateway's own"
        for address in web.addresses:
            try:
                response = await self._ask_web(address, self._ready_call(address))
            except (ExchangeFailed, ValueError) as failed:
                words = str(failed)
                continue
            refused = response.status == UNAUTHORIZED and not self._unproven
            if not refused and response.status < SERVER_ERROR:
                self._state.web_reached = True
                return ""
            words = f"{address}: status {response.status}"
        return f"web service: {words}"

    def _ready_call(self, address: Endpoint) -> Http1Call:
        """Raises ExchangeFailed while there is nothing to show; ValueError for what no header can have."""
        proof = own_proof(self._account(), self._by_certificate)
        if proof is None:
            raise ExchangeFailed("no credential of the gateway's own")
        shown = ((b"authorization", b"Bearer " + proof["auth_data"]),) if "auth_data" in proof else ()
        return Http1Call("GET", READY, str(address).encode(), shown, b"")

    async def answer(self, ask: Any, dial: Dial) -> Fact:
        """Follow a lookup from broker to broker. Raises ExchangeFailed."""
        assert isinstance(ask, BrokerWanted)
        at, authoritative = ask.at, ask.authoritative
        for _ in range(REDIRECTS_MAX):
            exchange, refused = await self._greet(dial, at, ask.principal)
            try:
                if refused:
                    raise ExchangeFailed(f"{at}: {refused}")
                asked = framed(
                    "lookup", topic=ask.topic, request_id=1, authoritative=authoritative,
                    advertised_listener_name=ask.listener,
                )  # fmt: skip
                said = await _call(exchange, asked)
            finally:
                exchange.close()
            if said.name != "lookup_response":
                raise ExchangeFailed(f"{at}: {said.name} in answer to a lookup")
            body = said.body
            found = endpoint(body.broker_url if self._state.plaintext else body.broker_url_tls)
            if body.response == CONNECT and found is not None:
                return BrokerFound(ask, found)
            if body.response != REDIRECT or found is None:
                return BrokerFound(ask, None, body.error, body.message)
            at, authoritative = found, body.authoritative
        return BrokerFound(ask, None, SERVICE_NOT_READY, "the lookup is sent on and on")

    async def _greet(self, dial: Dial, broker: Endpoint, principal: str) -> tuple[Exchange, str]:
        """An open exchange, and why the broker does not take the gateway ("" if it does). Raises ExchangeFailed."""
        proof = own_proof(self._account(), self._by_certificate)
        if proof is None:
            raise ExchangeFailed("no credential of the gateway's own")
        exchange = await dial(broker)
        try:
            said = await _call(exchange, greeting(proof, CLIENT, flags.VERSION, {}, principal))
        except BaseException:
            exchange.close()
            raise
        if said.name == "connected":
            return exchange, ""
        return exchange, f"error {said.body.error}: {said.body.message}" if said.name == "error" else said.name

    def close(self) -> None:
        """Nothing is kept open."""


async def _call(exchange: Exchange, frame: bytes) -> Command:
    """One command, and the broker's answer to it. Raises ExchangeFailed."""
    said = _decoded(await exchange.call(frame[SIZE:]))
    for _ in range(PINGS_MAX):
        if said.name != "ping":
            break
        said = _decoded(await exchange.call(replies.PONG[SIZE:]))
    return said


def _decoded(said: bytes) -> Command:
    try:
        return commands.decode(memoryview(said)[SIZE:])
    except Malformed as error:
        raise ExchangeFailed(str(error)) from None

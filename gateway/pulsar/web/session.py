"""One client's connection to Pulsar's HTTP interface: requests in, answers out. Implements core.session.Session.

    Asked -> whose it is (login) -> what becomes of it (pulsar.rest) -> its body, whole -> a broker -> the answer

A request is decided by its head, and by its body where its route says so; not one octet goes to a broker before. Of the
requests that HTTP/2 has at a time one is served after another, so that what a connection may cost is what one request
may. A connection belongs to the first principal that was seen on it: a request of another is sent elsewhere (421). An
error of the gateway's own while deciding ends this connection and no other.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from gateway.core.connection_log import ConnectionLog, Surroundings
from gateway.core.identity import Identity, Principal
from gateway.core.limits import Account
from gateway.core.reasons import Reason, place_of
from gateway.core.rights import Policy, Rights
from gateway.core.session import NEVER, Busy, Close, Effects, Endpoint, Fact, Peer
from gateway.http.messages import Asked, BadRequest, Complete, Data, Gone, Happened, Server
from gateway.http.server1 import Http1Server
from gateway.http.server2 import Http2Server
from gateway.pulsar import meters, reasons
from gateway.pulsar.charging import Charging
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.view import SYSTEM, View
from gateway.pulsar.web import reasons as web_reasons
from gateway.pulsar.web.exchange import Exchange, Stage
from gateway.pulsar.web.login import Failed, Proven, WebLogin, may_be_named
from gateway.pulsar.web.serving import Serving

LAST_SECOND = 1.0
"""Before the connection's time is over a refusal is told."""


class WebSession:
    """See the module's text; the pump's side of the contract is in core.session."""

    def __init__(self, peer: Peer, context: ListenerContext) -> None:
        self._context = context
        self._clock = context.clock
        self._peer = peer
        now = context.clock.monotonic()
        self.effects = Effects()
        self._server: Server = Http2Server(now) if peer.alpn == "h2" else Http1Server()
        self.client_wanted = self._server.wanted
        self.upstream_wanted = 1
        self.parked = False
        self.busy: Busy = ""
        """More frames are there than are taken at once, or a long answer is being rewritten (core.session.Sliced)."""
        self._log = _log(context, peer)
        self._login = WebLogin(context, peer)
        self._queue: deque[Exchange] = deque()
        self._serving = Serving(context, self._server, self.effects, self._rights_now)
        self._current: Exchange | None = None
        self._asking = False
        """A key is awaited."""
        self._identity: Identity | None = None
        self._mechanism = ""
        self._policy: Policy = context.policies.current
        self._rights: Rights | None = None
        self._account: Account | None = None
        self._charging: Charging | None = None
        self._decisions = count(1)
        self._over = False
        self._ends_at = peer.login_until(now, context.limits.authentication_timeout)
        self._head_since = 0.0
        self._resume_at = NEVER
        self._refusal: tuple[Exchange, Failed] | None = None
        self._refusal_at = NEVER
        self.deadline = self._ends_at
        self._from_client = context.meters.cell(meters.CLIENT_BYTES, context.backend.name)
        self._from_upstream = context.meters.cell(meters.UPSTREAM_BYTES, context.backend.name)
        self._requests = self._octets_in = self._octets_out = 0

    @property
    def principal(self) -> Principal | None:
        return self._identity.principal if self._identity is not None else None

    @property
    def idle(self) -> bool:
        """Nothing is owed to the client (core.session.Drainable)."""
        return self._current is None and not self._queue

    @property
    def holds(self) -> int:
        """Bodies that wait, and what is at work (core.session.Holding)."""
        return sum(len(each.body) for each in self._queue) + self._serving.holds(self._current)

    @property
    def silent(self) -> bool:
        """Nothing came from the client (core.session.Stranger)."""
        return self._log.silent

    @property
    def refused(self) -> bool:
        return self._refusal is not None and self._identity is None

    @property
    def identity(self) -> Identity | None:
        """Who is on the connection (core.session.Identified)."""
        return self._identity

    @property
    def mechanism(self) -> str:
        """How the principal was proven (core.session.Described)."""
        return self._mechanism

    @property
    def expires_at(self) -> float:
        return self._identity.expires_at if self._identity is not None else NEVER

    # ---- from the client ----------------------------------------------------------------------------------------

    def receive(self, data: memoryview) -> int:
        """Take client bytes, as far as they are looked at now."""
        now = self._clock.monotonic()
        if not self._open(now):
            return len(data)
        position = 0
        self.busy = ""
        self._log.heard()
        try:
            while position < len(data) and not (self._over or self._held or self._owes(now)):
                taken, happened = self._server.receive(data[position:], now)
                position += taken
                for each in happened:
                    self._happened(each, now)
                self._serve(now)
                if not taken or self._server.multiplexed:
                    break
            self._pace(len(data) - position, now)
        except BadRequest as bad:
            self._server.refuse(bad)
            self._close(Close(bad.reason, bad.detail))
        except Exception as error:
            self._close(Close(reasons.INTERNAL_ERROR, place_of(error)))
        self._octets_in += position
        self._from_client.value += position
        self._after(now)
        return len(data) if self._over else position

    def _owes(self, now: float) -> bool:
        """Whether nothing is looked at now, the principal being in debt: HTTP/2 frames, and a body that passes as it
        comes. Of HTTP/1.1 requests wait."""
        sending = self._current is not None and self._current.stage is Stage.SENDING
        return (sending or self._server.multiplexed) and self._charging is not None and self._charging.hold_back(now)

    def _pace(self, left: int, now: float) -> None:
        """Frames are taken few at a time (h2 and hpack are slow), and what they take is the principal's."""
        if not self._server.multiplexed:
            return
        if left >= self._server.wanted and not (self._over or self._held):
            self.busy = "client"
        if self._account is not None:
            self._account.decided(self._clock.monotonic() - now, now)

    def _happened(self, each: Happened, now: float) -> None:
        if isinstance(each, Asked):
            self._requests += 1
            self._queue.append(Exchange(each.stream, each.request, now + self._context.limits.frame_timeout))
            return
        exchange = self._exchange(each.stream)
        if exchange is None:
            return
        if isinstance(each, Data):
            if exchange.stage is Stage.SENDING:
                self._serving.more(exchange, each.octets, now)
            else:
                self._serving.body(exchange, each.octets)
        elif isinstance(each, Complete):
            exchange.complete = True
        elif isinstance(each, Gone):
            exchange.gone = True
            if exchange is not self._current:
                self._queue.remove(exchange)

    def _exchange(self, stream: int) -> Exchange | None:
        if self._current is not None and self._current.stream == stream:
            return self._current
        return next((each for each in self._queue if each.stream == stream), None)

    @property
    def _held(self) -> bool:
        """Nothing more is taken from the client now."""
        if self._refusal is not None or not self._server.taking:
            return True
        if self._server.multiplexed:
            return self._asking and self._identity is None  # nobody is there yet whom frames could be charged to
        current = self._current
        return current is not None and (self._asking or current.stage not in (Stage.BODY, Stage.SENDING))

    # ---- one request after another ------------------------------------------------------------------------------

    def _serve(self, now: float) -> None:
        """Go on with what can be gone on with."""
        while not self._over and self._refusal is None and not self._asking:
            current = self._current
            if current is None:
                if not self._queue or self._waits(now):
                    return
                current = self._current = self._queue.popleft()
                current.until = now + self._context.limits.frame_timeout
            if current.stage is Stage.LOGIN:
                self._see_who(current, now)
            else:
                self._serving.go_on(current, now)
            if self._serving.close is not None:
                self._close(self._serving.close)
            elif self._serving.done:
                self._serving.done = False
                self._current = None
                if self._server.over:
                    self._close(Close(web_reasons.HTTP_ENDED))
            elif current.stage is not Stage.LOGIN and not self._serving.moves(current):
                return

    def _waits(self, now: float) -> bool:
        """Whether the next request is not taken yet, its principal being in debt."""
        self._resume_at = NEVER
        if self._charging is None or not self._charging.hold_back(now):
            return False
        self._resume_at = self.effects.mute_until
        return True

    def _see_who(self, exchange: Exchange, now: float) -> None:
        if exchange.gone:
            self._serving.done = True
            return
        wall = self._clock.wall()
        found = self._login.look(exchange.request, wall, waited=exchange.waited)
        if isinstance(found, Proven):
            failed = self._use(found, now, wall)
            if failed is None:
                assert self._account is not None
                self._account.request(now)
                self._serving.begin(exchange, now, found.token)
                return
            found = failed
        if isinstance(found, Failed):
            self._fail(exchange, found, now)
            return
        exchange.waited = self._asking = True
        self.effects.asks.append(found)

    def _fail(self, exchange: Exchange, failed: Failed, now: float) -> None:
        """Answered in time, and then the connection ends."""
        delay = 0.0
        failures = self._context.failures
        if failed.issuer is not None and failures is not None:
            most = self._context.limits.failed_login_delay_max
            delay = failures.delay(self._peer.address, failed.issuer, now, most)
            if self._identity is None:
                delay = max(0.0, min(delay, self._ends_at - LAST_SECOND - now))
        close = failed.close
        self._log.refused(close.reason, close.detail, self._mechanism, self._software(exchange), delay)
        self._refusal, self._refusal_at = (exchange, failed), now + delay
        if not delay:
            self._tell_refusal()

    def _tell_refusal(self) -> None:
        assert self._refusal is not None
        exchange, failed = self._refusal
        self._serving.reply(exchange, failed.status, failed.close)
        self._close(failed.close)

    def _software(self, exchange: Exchange) -> str:
        return (exchange.request.values(b"user-agent") or [b""])[0].decode("latin-1")[:120]

    def _use(self, proven: Proven, now: float, wall: float) -> Failed | None:
        """Go on as this identity; or say why not."""
        identity, context = proven.identity, self._context
        name = identity.principal.name
        own = context.account.names if context.account is not None else frozenset[str]()
        if name in own | context.own_names:
            return Failed(403, Close(reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT, str(identity.principal)))
        if not context.tokens_passed and not may_be_named(name):
            return Failed(403, Close(web_reasons.HTTP_PRINCIPAL_NAME))
        known = self._identity
        if known is not None and known.principal != identity.principal:
            return Failed(421, Close(reasons.PRINCIPAL_CHANGED, str(identity.principal)))
        refused = self._renew(identity, now, wall)
        if refused is not None:
            return refused
        if known is not identity:
            self._identity, self._mechanism = identity, proven.mechanism
            self._ends_at = NEVER
            software = self._software(self._current) if self._current is not None else ""
            self._log.authenticated(identity, proven.mechanism, software, known is not None)
        return None

    def _renew(self, identity: Identity, now: float, wall: float) -> Failed | None:
        """Its rights, if those that are known are not its own of this moment."""
        policy, rights = self._context.policies.current, self._rights
        current = rights is not None and policy is self._policy and wall < rights.valid_until
        if current and self._identity is identity:
            return None
        self._policy = policy
        rights = self._rights = policy.rights(identity, self._context.backend.name, wall)
        return self._count(identity, rights, now)

    def _rights_now(self, now: float) -> Rights | None:
        """Those by which a request may go to a broker; None: what was proven about the client has ended."""
        if self._identity is None or self._ended:
            return None
        refused = self._renew(self._identity, now, self._clock.wall())
        return self._rights if refused is None else None

    def _count(self, identity: Identity, rights: Rights, now: float) -> Failed | None:
        """The connection counts for its principal from its first request on."""
        context = self._context
        if self._account is not None and self._serving.view is not None:
            self._account.quota = rights.quota
            self._serving.view.use(identity, rights)
            return None
        account = context.quotas.account(identity.principal, rights.quota, now)
        if not account.connect():
            return Failed(429, Close(reasons.CONNECTIONS_OF_PRINCIPAL, f"{rights.quota.connections} connections"))
        self._account = account
        throttled = context.meters.cell(meters.THROTTLE_SECONDS, context.backend.name)
        self._charging = Charging(account, context.limits.throttle_max, self.effects, throttled)
        self._serving.use(View(context, self._peer, identity, rights, account, self._decisions), account)
        return None

    # ---- from the broker ----------------------------------------------------------------------------------------

    def answer(self, data: memoryview) -> int:
        """Take the broker's bytes, as far as there is room for them."""
        now = self._clock.monotonic()
        if not self._open(now):
            return len(data)
        position = 0
        try:
            if self._current is not None and self._current.shaping:
                self._serving.shape(self._current, now)
            position = self._serving.answer(self._current, data, now)
            self._serve(now)
        except Exception as error:
            self._close(Close(reasons.INTERNAL_ERROR, place_of(error)))
        self.upstream_wanted = self._serving.wanted
        self.busy = "upstream" if self._current is not None and self._current.shaping else ""
        self._from_upstream.value += position
        self._after(now)
        return len(data) if self._over else position

    def upstream_endpoint(self) -> Endpoint | None:
        return self._serving.at

    def upstream_proven(self, until: float) -> None:
        """The broker is reached (core.session.Proving); until then nothing was sent to it."""
        self._serving.reached = True

    def upstream_lost(self, reason: Reason, detail: str) -> None:
        now = self._clock.monotonic()
        self._serving.lost(self._current, reason, detail, now)
        self.upstream_wanted = self._serving.wanted
        self._serve(now)
        self._after(now)

    # ---- what else happens --------------------------------------------------------------------------------------

    def _open(self, now: float) -> bool:
        """False if the connection is at its end."""
        if self._over:
            return False
        if now >= self._ends_at and self._identity is None:
            self._log.refused(reasons.AUTHENTICATION_TIMEOUT, "", self._mechanism, "")
            self._close(Close(reasons.AUTHENTICATION_TIMEOUT))
            self._after(now)
            return False
        return True

    def told(self, fact: Fact) -> None:
        """The key that a token waited for has come, or not: the token is looked at again."""
        now = self._clock.monotonic()
        self._asking = False
        self._serve(now)
        self._after(now)

    def tick(self) -> None:
        """The deadline has come."""
        now = self._clock.monotonic()
        if not self._open(now):
            return
        if self._refusal is not None:
            if now >= self._refusal_at:
                self._tell_refusal()
        elif self._head_since and now >= self._head_since + self._context.limits.frame_timeout:
            self._close(Close(web_reasons.HTTP_REQUEST_TIMEOUT, "headers"))
        elif self._current is not None and now >= self._current.until:
            self._late(self._current)
        elif self.idle and self._ended:
            self._close(Close(reasons.SESSION_EXPIRED))
        elif now >= self._resume_at:
            self._resume_at = NEVER
            self._serve(now)
        self._after(now)

    @property
    def _ended(self) -> bool:
        """What was proven about the client has ended; its next request would have to prove it anew."""
        return self._identity is not None and self._clock.wall() >= self._identity.expires_at

    def _late(self, current: Exchange) -> None:
        """A stage took too long: the connection ends with it."""
        if current.stage is Stage.ASKED:
            close = Close(web_reasons.HTTP_ANSWER_TIMEOUT, current.route)
            self._serving.reply(current, 504, close)
        elif current.stage in (Stage.LOGIN, Stage.DECIDING, Stage.BODY, Stage.SENDING):
            close = Close(web_reasons.HTTP_REQUEST_TIMEOUT, "body")
            self._serving.reply(current, 408, close)
        else:
            close = Close(web_reasons.HTTP_REQUEST_TIMEOUT, "answer")
        self._close(close)

    def closed(self, reason: Reason, detail: str) -> None:
        """The connection has ended: write it down, give back what is held."""
        self._over = True
        self.busy = ""
        self._serving.stop()
        self.deadline = NEVER
        if self._serving.view is not None:
            self._serving.view.denials.close()
        account, self._account = self._account, None
        if account is not None:
            account.disconnect()
        counts: dict[str, int | str] = {"requests": self._requests, "bytes_in": self._octets_in}
        self._log.closed(reason, detail, counts | {"bytes_out": self._octets_out})

    def _close(self, close: Close) -> None:
        if not self._over:
            self._over = True
            self.effects.close = close

    def _after(self, now: float) -> None:
        """At the end of a call: what the pump looks at next, and what is counted per call."""
        for octets in self._server.take():
            self.effects.to_client.append(octets)
            self._octets_out += len(octets)
        self.client_wanted = self._server.wanted
        self.parked = self._held
        self._head_since = (self._head_since or now) if self._server.partial else 0.0
        deadline = min(self._ends_at, self._refusal_at, self._resume_at)
        if self._current is not None:
            deadline = min(deadline, self._current.until)
        elif self._identity is not None and not self._queue:
            deadline = min(deadline, now + max(0.0, self._identity.expires_at - self._clock.wall()))
        if self._head_since:
            deadline = min(deadline, self._head_since + self._context.limits.frame_timeout)
        self.deadline = NEVER if self._over else deadline
        charging = self._charging
        if charging is not None and charging.throttle_seconds and self._log.throttled(charging.throttle_seconds, now):
            charging.throttle_seconds = 0.0


def _log(context: ListenerContext, peer: Peer) -> ConnectionLog:
    around = Surroundings(
        SYSTEM,
        context.listener.name,
        context.backend.name,
        context.audit,
        context.policies,
        context.meters,
        context.clock,
        meters.OF_CONNECTIONS,
    )
    return ConnectionLog(around, peer, {"alpn": peer.alpn}, silent=True)

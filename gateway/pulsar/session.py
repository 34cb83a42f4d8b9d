"""One Pulsar client's connection: frames in, effects out. Implements core.session.Session.

    (CONNECT) -> CONNECT of the gateway to a broker -> (CONNECTED) -> CONNECTED to the client -> commands both ways

A chunk is split into its frames, each command is decided in order, and allowed frames that stand side by side go on as
one view of the chunk, payloads untouched. Frames are decided when they are whole, but for messages, of which the front
may have gone on by the short way (pulsar.short_way): until the end of such a frame what the gateway has to say itself
in that direction is kept back. If its right is withdrawn in between, the connection ends; nobody has the whole of it.

Until the broker has answered the gateway's CONNECT the client is not read. Refused, each with a reason of its own:
sizes that cannot be, commands that cannot be decoded or that clients do not send. An error of the gateway's own while
deciding ends this connection and no other.
"""

from __future__ import annotations

from itertools import count

from gateway.core.connection_log import ConnectionLog, Surroundings
from gateway.core.identity import Identity, Principal
from gateway.core.limits import Account
from gateway.core.reasons import Reason, place_of
from gateway.core.rights import Policy, Rights
from gateway.core.session import (
    NEVER,
    Ask,
    Close,
    Effects,
    Endpoint,
    Fact,
    KeysRefreshed,
    KeysWanted,
    Part,
    Peer,
    Unavailable,
)
from gateway.pulsar import commands, meters, reasons, replies
from gateway.pulsar.charging import Charging
from gateway.pulsar.commands import HEADER, SIZE, Command, Malformed
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.hot import ShortWay
from gateway.pulsar.keepalive import KeepAlive
from gateway.pulsar.login import Login, Step
from gateway.pulsar.plain import COMMAND_MAX
from gateway.pulsar.relay import Relay, Told
from gateway.pulsar.table import ROWS, FromBroker
from gateway.pulsar.traffic import Taken, Traffic
from gateway.pulsar.view import SYSTEM, View
from gateway.wire.strangers import stranger

COMMAND_BYTES_MAX = 1 << 20
"""Of one command of a client's, without its payload; schemas and long acknowledgements are in it."""
FRAME_PADDING = 10 << 10
"""What a frame may be larger than the largest message, for command and metadata; Pulsar's own figure."""
REFRESH_SECONDS = 60.0
"""So long before a token ends the client is asked for a new one; of a short-lived token, half its time."""
KEPT_BACK_MAX = 1000
"""Commands of the gateway's own that wait for the end of a frame; with more, nothing is taken that may add to them."""
UNFINISHED_MIN = 64 << 10
"""Octets of a message that is on its way which come within `limits.frame_timeout`, if it is not whole by then: one that
drips would be held open at the broker for ever."""
LAST_SECOND = 1.0
"""Before the connection's time is over a refusal is told, so that it is not a silent end that the client sees."""


class PulsarSession:
    """See the module's text; the pump's side of the contract is in core.session."""

    def __init__(self, peer: Peer, context: ListenerContext) -> None:
        self._context = context
        self._clock = context.clock
        self._peer = peer
        now = context.clock.monotonic()
        self.effects = Effects()
        self.client_wanted = HEADER
        self.upstream_wanted = HEADER
        self.parked = False
        self._log = _log(context, peer)
        self._login = Login(context, peer)
        self._waiting: Ask | None = None
        self._over = False
        self._connected = False
        """The broker has taken the gateway's CONNECT."""
        self._identity: Identity | None = None
        self._policy: Policy = context.policies.current
        self._rights: Rights | None = None
        self._account: Account | None = None
        self._traffic: Traffic | None = None
        self._relay: Relay | None = None
        self._charging: Charging | None = None
        self._decisions = count(1)
        self._ends_at = peer.login_until(now, context.limits.authentication_timeout)
        self._challenge_at = NEVER
        self._challenged = False
        self._refusal: tuple[bytes, Close] | None = None
        """A failed login's answer and end, which wait for their time."""
        self._refusal_at = NEVER
        self._client_alive = KeepAlive(now)
        self._broker_alive = KeepAlive(now)
        self.deadline = self._ends_at
        self._frame_max = context.limits.frame_bytes_before_authentication_max
        self._from_client = context.meters.cell(meters.CLIENT_BYTES, context.backend.name)
        self._from_upstream = context.meters.cell(meters.UPSTREAM_BYTES, context.backend.name)
        self._frames = self._octets_in = self._octets_out = 0
        self._behind_sent: list[bytes] = []
        """What the broker is told behind the frame that is on its way to it."""
        self._behind_told: list[bytes] = []
        """Likewise the client."""
        self._unfinished = (-1, 0, NEVER)
        """The message that was seen on its way: how many came before it, how much was left of it, and when."""
        self.short_way = ShortWay(
            self, context, self._from_client, self._from_upstream, self._client_alive, self._broker_alive
        )

    @property
    def principal(self) -> Principal | None:
        return self._identity.principal if self._identity is not None else None

    @property
    def idle(self) -> bool:
        """Nothing is owed to the client (core.session.Drainable)."""
        if self._waiting is not None or self.short_way.telling is not None:
            return False
        return self._traffic is None or not len(self._traffic.requests)

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
        return self._login.mechanism if self._identity is not None else ""

    @property
    def expires_at(self) -> float:
        return self._identity.expires_at if self._identity is not None else NEVER

    # ---- from the client ----------------------------------------------------------------------------------------

    def receive(self, data: memoryview) -> int:
        """Take client bytes: every complete frame in `data`, until one waits, mutes or ends the connection."""
        now = self._clock.monotonic()
        self._client_alive.seen(now)
        if not self._open(now):
            return len(data)
        effects, short = self.effects, self.short_way
        end = len(data)
        position = run = self._go_on_sending(data)
        shortly = 0
        while not (self._held or self._over or short.sending is not None):
            taken = short.requests(data[position:])
            shortly += taken
            position += taken
            if end - position < HEADER:
                break
            total, size = commands.sizes(data, position)
            self._log.heard()
            bad = self._size_refused(total, size, data[position : position + SIZE])
            if bad is not None:
                self._close(bad)
                break
            if self._charging is not None and self._charging.hold_back(now):
                break
            stop = position + SIZE + total
            if stop > end:
                self.client_wanted = _wanted(total, size, end - position)
                break
            if run < position:  # in front of whatever deciding leaves for the broker
                effects.to_upstream.append(data[run:position])
                run = position
            at = position + HEADER
            outcome = self._decide(data[at : at + size], data[at + size : stop], now)
            if outcome is not Taken.FORWARD:
                if isinstance(outcome, Ask):
                    break
                if isinstance(outcome, list):
                    effects.to_upstream.extend(outcome)
                run = stop
            position = stop
            self._frames += 1
            self._brief()
        if run < position:
            effects.to_upstream.append(data[run:position])
        self._octets_in += position - shortly
        self._from_client.value += position - shortly
        self._keep_back(sent=False)
        self._after(now)
        return len(data) if self._over else position

    def _go_on_sending(self, data: memoryview) -> int:
        """Pass on what is of the frame whose front went on; at its end, what waits behind it."""
        short = self.short_way
        taken = short.sent_on(len(data))
        self.client_wanted = 1 if short.sending is not None else HEADER
        if taken:
            self.effects.to_upstream.append(data[:taken])
        if short.sending is None and self._behind_sent:
            self.effects.to_upstream.extend(self._behind_sent)
            self._behind_sent.clear()
            self._brief()
        return taken

    def _go_on_telling(self, data: memoryview) -> int:
        """Likewise towards the client."""
        short = self.short_way
        taken = short.told_on(len(data))
        self.upstream_wanted = 1 if short.telling is not None else HEADER
        if taken:
            self.effects.to_client.append(data[:taken])
        if short.telling is None and self._behind_told:
            self.effects.to_client.extend(self._behind_told)
            self._behind_told.clear()
            self._brief()
        return taken

    def _keep_back(self, sent: bool = True, told: bool = True) -> None:
        """What was left in these directions is of the gateway's own: it is never put within a frame."""
        effects, short = self.effects, self.short_way
        if sent and short.sending is not None and effects.to_upstream:
            self._behind_sent.extend(map(bytes, effects.to_upstream))
            effects.to_upstream.clear()
        if told and short.telling is not None and effects.to_client:
            self._behind_told.extend(map(bytes, effects.to_client))
            effects.to_client.clear()

    def _size_refused(self, total: int, size: int, prefix: memoryview) -> Close | None:
        """Why a frame of these sizes is not waited for."""
        if SIZE < total <= self._frame_max and 0 < size <= min(total - SIZE, COMMAND_BYTES_MAX):
            return None
        if not self._frames:
            found = stranger(bytes(prefix))
            if found is not None:
                return Close(reasons.NOT_PULSAR_HTTP if found == "http" else reasons.NOT_PULSAR_TLS)
        if total <= self._frame_max:
            return Close(reasons.FRAME_LENGTH_INVALID, f"{total} bytes, a command of {size}")
        known = self._connected
        return Close(reasons.FRAME_TOO_LARGE if known else reasons.FRAME_TOO_LARGE_UNAUTHENTICATED, f"{total} bytes")

    def _decide(self, octets: memoryview, payload: memoryview, now: float) -> Taken | Ask | list[Part] | None:
        """One frame's outcome. Whatever goes wrong, nothing of it is forwarded and the connection ends."""
        try:
            command = commands.decode(octets)
            if len(payload) and command.name != "send":
                raise Malformed(f"a payload behind {command.name}")
            outcome = self._decide_unguarded(command, HEADER + len(octets) + len(payload), now)
        except Malformed as error:
            outcome = Close(reasons.REQUEST_MALFORMED, str(error))
        except Exception as error:
            outcome = Close(reasons.INTERNAL_ERROR, place_of(error))
        if isinstance(outcome, Close):
            self._close(outcome)
            return None
        if isinstance(outcome, Ask):
            return outcome
        if outcome is Taken.FORWARD and command.encoded is not None:
            return command.parts(payload)
        return outcome if outcome is Taken.FORWARD else None

    def _decide_unguarded(self, command: Command, octets: int, now: float) -> Taken | Ask | Close:
        name = command.name
        traffic, charging = self._traffic, self._charging
        if traffic is None or charging is None:
            if name != "connect":
                return Close(reasons.CONNECT_EXPECTED, name)
            return self._step(self._login.connect(command.body, self._clock.wall()), now)
        if name == "send":
            charging.produced(octets, now)
            return traffic.send(command, octets)
        if name == "ping":
            self.effects.to_client.append(replies.PONG)
            return Taken.DONE
        if name == "pong":
            return Taken.DONE
        charging.request(now)
        if name == "connect":
            return Close(reasons.CONNECT_EXPECTED, "connect a second time")
        if name == "auth_response":
            if not self._challenged or self._identity is None:
                return Close(reasons.COMMAND_NOT_FOR_CLIENTS, "auth_response without a challenge")
            return self._step(self._login.refresh(command.body, self._identity.principal, self._clock.wall()), now)
        return traffic.request(command)

    # ---- who it is ----------------------------------------------------------------------------------------------

    def _step(self, step: Step, now: float) -> Taken | Ask | Close:
        """Do what CONNECT or AUTH_RESPONSE came to."""
        if step.ask is not None:
            self._waiting = step.ask
            self.effects.asks.append(step.ask)
            return step.ask
        close = step.close
        if step.proven is not None:
            close = self._proven(step.proven, now)
        if close is None:
            return Taken.DONE
        delay = self._delay(step, now)
        self._log.refused(close.reason, close.detail, self._login.mechanism, self._login.software, delay)
        answer = step.answer or (replies.not_authenticated() if step.proven is not None else b"")
        if delay:
            self._refusal, self._refusal_at = (answer, close), now + delay
            return Taken.DONE
        if answer:
            self.effects.to_client.append(answer)
        return close

    def _delay(self, step: Step, now: float) -> float:
        """For how long a failed login is not told so, longer with each failure (core.failed_logins)."""
        failures = self._context.failures
        if step.failed is None or failures is None:
            return 0.0
        most = self._context.limits.failed_login_delay_max
        delay = failures.delay(self._peer.address, step.failed, now, most)
        return max(0.0, min(delay, self._ends_at - LAST_SECOND - now))

    def _proven(self, identity: Identity, now: float) -> Close | None:
        """Begin, or go on with, this identity; or say why not."""
        context = self._context
        own = context.account.names if context.account is not None else frozenset()
        if identity.principal.name in own | context.own_names:
            return Close(reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT, str(identity.principal))
        wall = self._clock.wall()
        lifetime = identity.expires_at - wall
        if lifetime <= 0:
            return Close(reasons.SESSION_EXPIRED)
        again = self._traffic is not None
        self._policy = context.policies.current
        rights = self._rights = self._policy.rights(identity, context.backend.name, wall)
        if self._traffic is not None:
            assert self._account is not None
            self._account.quota = rights.quota
            self._use(self._traffic, identity, rights)
        else:
            refused = self._begin(identity, rights, now)
            if refused is not None:
                return refused
        self._identity = identity
        self._challenged = False
        if self._connected:
            self._session_time(now, lifetime)
        self._log.authenticated(identity, self._login.mechanism, self._login.software, again)
        return None

    def _begin(self, identity: Identity, rights: Rights, now: float) -> Close | None:
        """Count the connection, and greet the broker in the client's name."""
        context = self._context
        account = context.quotas.account(identity.principal, rights.quota, now)
        if not account.connect():
            return Close(reasons.CONNECTIONS_OF_PRINCIPAL, f"{rights.quota.connections} connections")
        self._account = account
        greeting = self._login.to_broker(identity.principal)
        if greeting is None:
            return Close(reasons.BACKEND_NOT_READY, "no credential of the gateway's own")
        view = View(context, self._peer, identity, rights, account, self._decisions)
        self._traffic = Traffic(context, view, account, self.effects)
        self._relay = Relay(context, self._traffic, self.effects)
        throttled = context.meters.cell(meters.THROTTLE_SECONDS, context.backend.name)
        self._charging = Charging(account, context.limits.throttle_max, self.effects, throttled)
        self.effects.to_upstream.append(greeting)
        return None

    def _session_time(self, now: float, lifetime: float) -> None:
        """The session ends with its identity; before that a client that can is asked for a new token."""
        self._ends_at = now + lifetime
        lead = min(REFRESH_SECONDS, lifetime / 2)
        self._challenge_at = self._ends_at - lead if self._login.refreshes else NEVER

    # ---- from the broker ----------------------------------------------------------------------------------------

    def answer(self, data: memoryview) -> int:
        """Take the broker's bytes: every complete frame in `data`."""
        now = self._clock.monotonic()
        self._broker_alive.seen(now)
        if not self._open(now):
            return len(data)
        to_client, short = self.effects.to_client, self.short_way
        end = len(data)
        position = run = self._go_on_telling(data)
        shortly = 0
        while not (self._over or short.telling is not None or len(self._behind_sent) >= KEPT_BACK_MAX):
            taken = short.answers(data[position:])
            shortly += taken
            position += taken
            if end - position < HEADER:
                break
            total, size = commands.sizes(data, position)
            if not (SIZE < total <= self._context.limits.frame_bytes_max and 0 < size <= total - SIZE):
                too_large = total > self._context.limits.frame_bytes_max
                reason = reasons.UPSTREAM_FRAME_TOO_LARGE if too_large else reasons.UPSTREAM_PROTOCOL
                self._close(Close(reason, f"{total} bytes"))
                break
            stop = position + SIZE + total
            if stop > end:
                self.upstream_wanted = _wanted(total, size, end - position)
                break
            at = position + HEADER
            outcome = self._told(data[at : at + size], data[at + size : stop], now)
            if outcome is not Told.FORWARD:
                if run < position:
                    to_client.append(data[run:position])
                if isinstance(outcome, list):
                    to_client.extend(outcome)
                run = stop
            position = stop
            self._brief()
        if run < position:
            to_client.append(data[run:position])
        self._from_upstream.value += position - shortly
        self._octets_out -= shortly  # the short way has counted them
        self._keep_back(told=False)
        self._after(now)
        return len(data) if self._over else position

    def _told(self, octets: memoryview, payload: memoryview, now: float) -> Told | list[Part] | None:
        """One frame of the broker's, in the client's form; None if nothing of it is for the client."""
        try:
            command = commands.decode(octets)
            outcome = self._told_unguarded(command, HEADER + len(octets) + len(payload), now)
        except Malformed as error:
            outcome = Close(reasons.UPSTREAM_PROTOCOL, str(error))
        except Exception as error:
            outcome = Close(reasons.INTERNAL_ERROR, place_of(error))
        if isinstance(outcome, Close):
            self._close(outcome)
            return None
        if outcome is Told.FORWARD and command.encoded is not None:
            return command.parts(payload)
        return outcome if outcome is Told.FORWARD else None

    def _told_unguarded(self, command: Command, octets: int, now: float) -> Told | Close:
        relay, charging = self._relay, self._charging
        name = command.name
        if relay is None or charging is None:
            return Close(reasons.UPSTREAM_PROTOCOL, "an answer before any question")
        if name == "message" and self._connected:
            charging.consumed(octets, now)
            return relay.message(command, octets)
        if ROWS[name].broker is FromBroker.OWN:
            return self._own(command, now)
        if not self._connected:
            if name == "error":
                detail = f"error {command.body.error}: {command.body.message}"
                return Close(reasons.UPSTREAM_REFUSED, detail[:200])
            return Close(reasons.UPSTREAM_PROTOCOL, f"{name} before connected")
        return relay.command(command)

    def _own(self, command: Command, now: float) -> Told | Close:
        """What the broker says to the gateway itself."""
        name = command.name
        if name == "ping":
            self.effects.to_upstream.append(replies.PONG)
        elif name == "auth_challenge":
            answer = self._login.to_broker_again()
            if answer is None:
                return Close(reasons.UPSTREAM_REFUSED, "the broker wants a credential that the gateway has not")
            self.effects.to_upstream.append(answer)
        elif name == "connected":
            if self._connected or self._identity is None:
                return Close(reasons.UPSTREAM_PROTOCOL, "connected a second time")
            self._connected = True
            answer, largest = self._login.connected(command.body)
            self._frame_max = min(largest + FRAME_PADDING, self._context.limits.frame_bytes_max)
            self._session_time(now, self._identity.expires_at - self._clock.wall())
            self.effects.to_client.append(answer)
        return Told.DONE

    # ---- what else happens --------------------------------------------------------------------------------------

    def _open(self, now: float) -> bool:
        """Bring this call's picture up to date; False if the connection is at its end."""
        if self._over:
            return False
        wall = self._clock.wall()
        identity = self._identity
        slept = identity is not None and wall >= identity.expires_at  # or its clock was set
        if now >= self._ends_at or slept:
            self._expired()
            self._after(now)
            return False
        policy, rights = self._context.policies.current, self._rights
        stale = policy is not self._policy or (rights is not None and wall >= rights.valid_until)
        if stale and identity is not None and self._traffic is not None and self._account is not None:
            self._policy = policy
            rights = self._rights = policy.rights(identity, self._context.backend.name, wall)
            self._account.quota = rights.quota
            self._use(self._traffic, identity, rights)
            self._keep_back()
            if self._over:
                self._after(now)
            else:
                self._brief()  # what is left for the client is summed at the end of the call
        return not self._over

    def _use(self, traffic: Traffic, identity: Identity, rights: Rights) -> None:
        """Other rights from now on. A message that is on its way and is not allowed by them is not completed."""
        traffic.use(identity, rights)
        for handle in (self.short_way.sending, self.short_way.telling):
            if handle is not None and not traffic.still(handle):
                self._close(Close(reasons.WITHDRAWN_WITHIN_MESSAGE, handle.kind))

    def told(self, fact: Fact) -> None:
        """What was asked for. With the keys that a token waited for, or without, the same frame is looked at again."""
        if isinstance(fact, KeysRefreshed) or (isinstance(fact, Unavailable) and isinstance(fact.ask, KeysWanted)):
            self._waiting = None
        elif self._relay is not None and not self._over:
            self._relay.told(fact)
        self._keep_back()
        self._after(self._clock.monotonic())

    def tick(self) -> None:
        """The deadline has come: the end of the session, a challenge, or somebody is silent."""
        now = self._clock.monotonic()
        if not self._open(now):
            return
        if self._refusal is not None and now >= self._refusal_at:
            answer, close = self._refusal
            if answer:
                self.effects.to_client.append(answer)
            self._close(close)
        elif now >= self._challenge_at and not self._challenged:
            self._challenged = True
            self._challenge_at = NEVER
            self.effects.to_client.append(self._login.challenge())
        if self._connected:
            if self._client_alive.gone(now) or self._broker_alive.gone(now):
                silent = "the client" if self._client_alive.gone(now) else "the broker"
                self._close(Close(reasons.PEER_SILENT, silent))
            if self._client_alive.due(now):
                self.effects.to_client.append(replies.PING)
            if self._broker_alive.due(now):
                self.effects.to_upstream.append(replies.PING)
        self._keep_back()
        self._after(now)

    def _see_unfinished(self, now: float) -> None:
        """Whether a client's message comes too slowly. Messages that the pump passes by itself are seen at ticks, which
        come each half minute at least."""
        frames, left, since = self._unfinished
        short = self.short_way
        if short.sending is None:
            self._unfinished = (-1, 0, NEVER)
        elif frames != short.frames or left - short.sent_left >= UNFINISHED_MIN:
            self._unfinished = (short.frames, short.sent_left, now)
        elif now >= since + self._context.limits.frame_timeout:
            self._close(Close(reasons.MESSAGE_UNFINISHED, f"{short.sent_left} bytes are missing"))

    def upstream_endpoint(self) -> Endpoint | None:
        return self._login.broker or self._context.backend.any_broker()

    def upstream_lost(self, reason: Reason, detail: str) -> None:
        self._close(Close(reason, detail))

    def closed(self, reason: Reason, detail: str) -> None:
        """The connection has ended: write it down, give back what is held."""
        self._over = True
        self.deadline = NEVER
        self._brief()
        if self._traffic is not None:
            self._traffic.close()
        account, self._account = self._account, None
        if account is not None:
            account.disconnect()
        counts: dict[str, int | str] = {"client_software": self._login.software}
        short = self.short_way
        counts |= {"requests": self._frames + short.frames}
        counts |= {"bytes_in": self._octets_in + short.octets_in, "bytes_out": self._octets_out + short.octets_out}
        self._log.closed(reason, detail, counts)

    def _expired(self) -> None:
        if self._connected:
            unanswered = self._challenged and self._login.refreshes
            self._close(Close(reasons.AUTHENTICATION_UNANSWERED if unanswered else reasons.SESSION_EXPIRED))
            return
        close = Close(reasons.AUTHENTICATION_TIMEOUT)
        if self._identity is None:
            self._log.refused(close.reason, "", self._login.mechanism, self._login.software)
        self._close(close)

    @property
    def _held(self) -> bool:
        """No further frame of the client's is taken: a fact is awaited, or the broker has not answered yet, or too much
        waits to be said to the client."""
        if self._waiting is not None or self._refusal is not None or len(self._behind_told) >= KEPT_BACK_MAX:
            return True
        return self._traffic is not None and not self._connected

    def _close(self, close: Close) -> None:
        if not self._over:
            self._over = True
            self.effects.close = close

    def _after(self, now: float) -> None:
        """At the end of a call: what the pump looks at next, and what is counted per call."""
        self._see_unfinished(now)
        self.parked = self._held
        deadline = min(self._ends_at, self._challenge_at, self._refusal_at)
        if self._connected:
            deadline = min(deadline, self._client_alive.deadline, self._broker_alive.deadline)
            deadline = min(deadline, self._unfinished[2] + self._context.limits.frame_timeout)
        self.deadline = NEVER if self._over else deadline
        self._octets_out += sum(map(len, self.effects.to_client))
        charging = self._charging
        if charging is not None and charging.throttle_seconds and self._log.throttled(charging.throttle_seconds, now):
            charging.throttle_seconds = 0.0
        self._brief()

    def _brief(self) -> None:
        """Tell the short way what it may do until this class is called again."""
        short, traffic, rights, identity = self.short_way, self._traffic, self._rights, self._identity
        if self._over or not self._connected or traffic is None or rights is None or identity is None:
            short.brief(False, False)
            return
        valid_until = min(rights.valid_until, identity.expires_at)
        told_max = self._context.limits.frame_bytes_max
        short.follow(traffic, self._policy, valid_until, self._ends_at, self._frame_max, told_max)
        short.brief(not self._held and not self._behind_sent, not self._behind_told)


def _wanted(total: int, size: int, there: int) -> int:
    """Octets of a frame to wait for: its command, which may be enough (pulsar.short_way), and then the whole."""
    return HEADER + size if there < HEADER + size <= HEADER + COMMAND_MAX else SIZE + total


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
    return ConnectionLog(around, peer, {}, silent=True)

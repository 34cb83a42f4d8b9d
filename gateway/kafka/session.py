"""One Kafka client's connection: frames in, effects out. Implements core.session.Session.

A chunk is split into its complete frames, each is decided in order, and allowed frames that stand side by side go
upstream as one view of the chunk. Before authentication frames go to `Authentication`, afterwards to `Traffic`. What
the gateway answers by itself waits its turn in the queue of expected answers. A frame that waits for a fact is not
consumed: it is shown again once the fact was told, and no later frame is looked at before.

Refused, each with a reason of its own: lengths that cannot be, frames that cannot be decoded, APIs and versions not
offered, an answer that is not the one that was due. An error of the gateway's own while deciding ends this connection
and no other. A client's frame is never forwarded in part.
"""

from __future__ import annotations

from struct import Struct

from gateway.core.identity import Identity, Principal
from gateway.core.reasons import Reason, place_of
from gateway.core.session import (
    NEVER,
    Ask,
    Busy,
    Close,
    Effects,
    Endpoint,
    Fact,
    Peer,
)
from gateway.kafka import codec, reasons
from gateway.kafka.admission import Admission
from gateway.kafka.answers import AnswerQueue
from gateway.kafka.api_versions import API_VERSIONS, SASL_AUTHENTICATE, SASL_HANDSHAKE
from gateway.kafka.authentication import Authentication, Step
from gateway.kafka.context import ListenerContext
from gateway.kafka.hot import ShortWay
from gateway.kafka.meters import CLIENT_BYTES, UPSTREAM_BYTES
from gateway.kafka.outcomes import AS_IT_IS, LATER, UNFINISHED, AsItIs, Outcome, Pieces, Unfinished
from gateway.kafka.plan import TopicFacts, TopicFactsWanted, TopicsToCreate
from gateway.kafka.refusal import Refusal
from gateway.kafka.renewal import Renewal
from gateway.kafka.session_log import session_log
from gateway.kafka.traffic import Traffic
from gateway.wire.strangers import stranger

__all__ = ["KafkaSession", "ListenerContext"]

_INT16 = Struct(">h").unpack_from
_INT32 = Struct(">i").unpack_from
PREFIX = 4
API_KEY = 2
HEADER_BYTES_MIN = 10
"""API key, version, correlation id and the client id's length."""
LAST_ANSWERS_SECONDS = 5.0
"""How long a connection that ends waits for earlier answers of the broker, so that its last answer can follow them."""


class KafkaSession:
    """See the module's text; the pump's side of the contract is in core.session."""

    def __init__(self, peer: Peer, context: ListenerContext) -> None:
        self._context = context
        self._clock = context.clock
        self.effects = Effects()
        self.client_wanted = PREFIX
        self.upstream_wanted = PREFIX
        self.parked = False
        self.busy: Busy = ""
        """A message of this side is being decided in slices (core.session.Sliced)."""
        self._log = session_log(context, peer)
        self._queue = AnswerQueue(context.limits.in_flight_max)
        self._sasl = Authentication(context, peer)
        self._renewal = Renewal(context, self._queue, self.effects)
        self._waiting: Ask | None = None
        self._ending: Close | None = None
        self._over = False
        self._untouched = True
        self._refusal = Refusal(context, peer, self._log)
        self._admission = Admission(context, peer, self._log, self._queue, self.effects)
        self.deadline = self._admission.ends_at
        if self._admission.by_certificate:
            self._sasl.by_certificate()
            self.deadline = context.clock.monotonic()  # `tick` admits it even if it sends nothing
        self._from_client = context.meters.cell(CLIENT_BYTES, context.backend.name)
        self._from_upstream = context.meters.cell(UPSTREAM_BYTES, context.backend.name)
        self._requests = self._octets_in = self._octets_out = 0
        self.short_way = ShortWay(self, context, self._queue, self._from_client, self._from_upstream)
        """What of requests and answers goes on without this class (core.session.Shortened)."""

    @property
    def principal(self) -> Principal | None:
        return self._admission.principal

    @property
    def idle(self) -> bool:
        """Nothing is owed to the client (core.session.Drainable)."""
        return not (len(self._queue) or self._waiting is not None or self.busy)

    @property
    def silent(self) -> bool:
        """Nothing came from the client (core.session.Stranger)."""
        return self._log.silent

    @property
    def refused(self) -> bool:
        over = self._ending is not None or self._refusal.step is not None
        return over and self._admission.traffic is None

    @property
    def mechanism(self) -> str:
        """How the principal was proven (core.session.Described)."""
        return self._admission.mechanism

    @property
    def identity(self) -> Identity | None:
        """What was proven (core.session.Identified)."""
        traffic = self._admission.traffic
        return traffic.identity if traffic is not None else None

    @property
    def expires_at(self) -> float:
        identity = self.identity
        return identity.expires_at if identity is not None else NEVER

    # From the client

    def receive(self, data: memoryview) -> int:
        """Take client bytes: every complete frame in `data`, until one waits, mutes or ends the connection."""
        if self._over:
            return len(data)
        if not self._requests:
            self._log.heard()
        now = self._clock.monotonic()
        if not self._open(now):
            return len(data)
        effects = self.effects
        self.client_wanted = PREFIX
        position = short = 0
        going_on = self.busy == "client"
        if going_on:
            self.busy = ""
            self.parked = self._held
        while not (self.parked or self._over or effects.mute_until > now):
            taken = 0 if going_on else self.short_way.requests(data[position:])
            going_on = False
            if taken:
                effects.to_upstream.append(data[position : position + taken])
                position += taken
                short += taken
            stop = self._requests_of(data, position, now, only_one=taken > 0)
            more = taken and stop > position
            position = stop
            if not more:
                break
            if self._admission.traffic is not None:  # that frame may have begun a login, or brought other rights
                self._brief(self._admission.traffic, self._paused or self._over)
        self._octets_in += position - short
        self._from_client.value += position - short
        self._after(now)
        return len(data) if self._over else position

    def _requests_of(self, data: memoryview, position: int, now: float, only_one: bool) -> int:
        """Decide the frames of `data` from a position on, or the next one of them; where the first not taken begins."""
        effects = self.effects
        run = position
        end = len(data)
        self.client_wanted = PREFIX
        while not (self.parked or self._over or effects.mute_until > now):
            if end - position < PREFIX:
                break
            size = _INT32(data, position)[0]
            if not HEADER_BYTES_MIN <= size <= self._admission.frame_bytes_max:
                bad = self._size_refused(size, data[position : position + PREFIX])
                if bad is not None:
                    self._close(bad)
                    break
            if end - position >= PREFIX + API_KEY and self._held_back(data, position, size, now):
                break
            stop = position + PREFIX + size
            if stop > end:
                self.client_wanted = PREFIX + size
                break
            outcome = self._decide(data[position + PREFIX : stop], now)
            if outcome is not AS_IT_IS:
                if run < position:
                    effects.to_upstream.append(data[run:position])
                if isinstance(outcome, Ask):
                    self._wait(outcome)
                if outcome is UNFINISHED:
                    self.busy = "client"
                if outcome in (LATER, UNFINISHED) or isinstance(outcome, Ask):
                    run = position
                    break
                if isinstance(outcome, bytes):
                    effects.to_upstream.append(outcome)
                elif isinstance(outcome, tuple):
                    effects.to_upstream.extend(outcome)
                run = stop
            position = stop
            self._requests += 1
            self.parked = self._held
            if only_one:
                break
        if run < position:
            effects.to_upstream.append(data[run:position])
        return position

    def _open(self, now: float) -> bool:
        """Bring this call's picture up to date; False if the connection is at its end."""
        if not self._admission.current(now):
            self._expired()
            return False
        return not self._admission.by_certificate or self._admit_certificate(now)

    def _admit_certificate(self, now: float) -> bool:
        refused = self._admission.admit_certificate(now)
        if refused is not None:
            self._close(refused)
            self._after(now)
        return refused is None

    def _held_back(self, data: memoryview, position: int, size: int, now: float) -> bool:
        """Whether the next frame, of which its length and API key are there, is not taken yet."""
        traffic = self._admission.traffic
        if traffic is None or not self._sasl.complete:
            return False
        return traffic.charging.hold_back(_INT16(data, position + PREFIX)[0], size, now)

    def _size_refused(self, size: int, prefix: memoryview) -> Close | None:
        limits = self._context.limits
        if self._sasl.bare_tokens:  # SaslHandshake v0: a token may be empty
            if 0 <= size <= limits.frame_bytes_before_authentication_max:
                return None
            return Close(reasons.FRAME_LENGTH_INVALID, f"{size} bytes for a token")
        known = self._admission.traffic is not None
        if not self._requests:
            found = stranger(bytes(prefix))
            if found is not None:
                return Close(reasons.NOT_KAFKA_HTTP if found == "http" else reasons.NOT_KAFKA_TLS)
        if size < HEADER_BYTES_MIN:
            return Close(reasons.FRAME_LENGTH_INVALID, f"{size} bytes")
        return Close(reasons.FRAME_TOO_LARGE if known else reasons.FRAME_TOO_LARGE_UNAUTHENTICATED, f"{size} bytes")

    def _decide(self, frame: memoryview, now: float) -> Outcome:
        """One frame's outcome. Whatever goes wrong, nothing of it is forwarded and the connection ends."""
        try:
            outcome = self._decide_unguarded(frame, now)
        except codec.Malformed as error:
            outcome = Close(reasons.REQUEST_MALFORMED, str(error))
        except Exception as error:
            outcome = Close(reasons.INTERNAL_ERROR, place_of(error))
        if isinstance(outcome, Close):
            self._close(outcome)
            return None
        return outcome

    def _decide_unguarded(self, frame: memoryview, now: float) -> Outcome:
        traffic = self._admission.traffic
        if traffic is None:
            return self._step(self._sasl.receive(frame), now)
        if not self._sasl.complete:
            traffic.charge(SASL_AUTHENTICATE, len(frame), now)
            return self._step(self._sasl.receive(frame), now)
        api_key = _INT16(frame)[0]
        if api_key == API_VERSIONS:
            software = traffic.api_versions(frame, now)
            if isinstance(software, Close):
                return software
            self._sasl.software = software or self._sasl.software
            return None
        if api_key in (SASL_HANDSHAKE, SASL_AUTHENTICATE):
            traffic.charge(api_key, len(frame), now)
            return self._step(self._sasl.again(frame, now, self._untouched), now)
        self._untouched = False
        return traffic.request(frame, now)

    # Authentication

    def _step(self, step: Step, now: float) -> Outcome:
        """Do what a step of the SASL exchange came to."""
        if step.ask is not None:
            return step.ask
        close = step.close
        if step.proven is not None:
            close = self._admission.proven(step.proven, self._sasl.mechanism, self._sasl.software, now)
        refused = step.refused or close
        ends_at = self._admission.ends_at
        if refused is not None and self._refusal.held_back(refused, step, self._sasl, now, ends_at):
            return None
        return self._say(None if step.proven is not None and close is not None else step.answer, close, now)

    def _say(self, answer: bytes | None, close: Close | None, now: float) -> Close | None:
        """Answer, and end the connection behind it."""
        if answer is not None:
            self._queue.own(answer, self.effects.to_client)
        if close is not None:
            if not len(self._queue):
                return close
            self._ending = close  # the broker's answers to earlier requests come first
            self._admission.ends_at = min(self._admission.ends_at, now + LAST_ANSWERS_SECONDS)
        return None

    # From the broker

    def answer(self, data: memoryview) -> int:
        """Take the broker's bytes: every complete frame in `data`."""
        if self._over:
            return len(data)
        now = self._clock.monotonic()
        if not self._open(now):
            return len(data)
        to_client = self.effects.to_client
        position = short = 0
        gone_out = self.short_way.octets_out
        end = len(data)
        going_on = self.busy == "upstream"
        if going_on:
            self.busy = ""
        while not (self._over or self.busy):
            self.upstream_wanted = PREFIX
            parts = len(to_client)
            taken = 0 if going_on else self.short_way.answers(data[position:])
            going_on = False
            if taken:
                position += taken
                short += taken
                if len(to_client) > parts:
                    continue  # one answer, in a form known from before
                to_client.append(data[position - taken : position])
            if self.short_way.streaming:
                ended = self._end_streamed(data[position:])
                if isinstance(ended, Close):
                    self._close(ended)
                if not isinstance(ended, bytes):
                    break
                to_client.append(ended)
                position += len(ended)
                self._passed()
                continue
            if self.upstream_wanted > max(PREFIX, end - position):
                break  # the front of an answer that may go on as it comes
            stop = self._answers_of(data, position, now, only_one=taken > 0)
            more = taken and stop > position
            position = stop
            if not more:
                break
        self._octets_out -= self.short_way.octets_out - gone_out
        self._from_upstream.value += position - short
        self._after(now)
        return len(data) if self._over else position

    def _answers_of(self, data: memoryview, position: int, now: float, only_one: bool) -> int:
        """Relay the answers of `data` from a position on, or the next one; where the first not taken begins."""
        to_client = self.effects.to_client
        run = position
        end = len(data)
        self.upstream_wanted = PREFIX
        while not self._over and end - position >= PREFIX:
            size = _INT32(data, position)[0]
            if not PREFIX <= size <= self._context.limits.frame_bytes_max:
                reason = reasons.UPSTREAM_FRAME_TOO_LARGE if size > PREFIX else reasons.UPSTREAM_PROTOCOL
                self._close(Close(reason, f"{size} bytes"))
                break
            stop = position + PREFIX + size
            if stop > end:
                self.upstream_wanted = PREFIX + size
                break
            answer = self._answered(data[position + PREFIX : stop], now)
            if isinstance(answer, Close):
                self._close(answer)
                break
            if answer is UNFINISHED:
                self.busy = "upstream"
                break
            if answer is not AS_IT_IS:
                if run < position:
                    to_client.append(data[run:position])
                if isinstance(answer, tuple):
                    to_client.extend(answer)
                elif answer:
                    to_client.append(answer)
                run = stop
            position = stop
            if self._queue.own_is_next():
                if run < position:
                    to_client.append(data[run:position])
                run = position
            self._passed()
            if only_one:
                break
        if run < position:
            to_client.append(data[run:position])
        return position

    def _passed(self) -> None:
        """The answer that was due is on its way: send those of the gateway's own that stood behind it."""
        if self._queue.passed():
            self._queue.release(self.effects.to_client.append)

    def _end_streamed(self, data: memoryview) -> bytes | Close | None:
        """The end of an answer whose front has gone on, or why the connection ends; None: more of it is to come."""
        failed = self.short_way.failed
        if failed is None:
            return self.short_way.end_of_answer(data)
        if isinstance(failed, codec.Malformed):
            return Close(reasons.UPSTREAM_PROTOCOL, str(failed))
        assert self._admission.traffic is not None
        topic = self._admission.traffic.fast.withheld(failed.topic, failed.by_id)
        return Close(reasons.FETCHED_TOPIC_WITHDRAWN, topic)

    def _answered(self, frame: memoryview, now: float) -> AsItIs | Unfinished | bytes | Pieces | Close:
        """One answer in the client's form, or why the connection ends."""
        expected = self._queue.head()
        traffic = self._admission.traffic
        correlation_id = _INT32(frame)[0]
        if expected is None or traffic is None:
            return Close(reasons.UPSTREAM_PROTOCOL, "an answer nobody waits for")
        if expected.correlation_id != correlation_id:
            return Close(reasons.UPSTREAM_PROTOCOL, "an answer to another request than the one that was due")
        try:
            if expected.gateways:
                return self._renewal.answered(frame, now) or b""
            return traffic.relay.answer(expected, frame, now)
        except codec.Malformed as error:
            return Close(reasons.UPSTREAM_PROTOCOL, str(error))
        except Exception as error:
            return Close(reasons.INTERNAL_ERROR, place_of(error))

    # What else happens

    def told(self, fact: Fact) -> None:
        """The fact that a frame waited for, or that it could not be had."""
        ask, self._waiting = self._waiting, None
        self.parked = self._held
        if self._admission.traffic is not None:
            self._brief(self._admission.traffic, self._over or self._paused)
        if ask is None or self._over:
            return
        if isinstance(fact, TopicFacts):
            missing = (frozenset(fact.missing_ids), frozenset(fact.missing_names))
        elif isinstance(ask, TopicFactsWanted):  # not to be had: as good as unknown, which clients retry
            missing = (ask.ids, ask.names)
        elif isinstance(ask, TopicsToCreate):
            missing = (frozenset(), ask.names)
        else:  # keys: the same token is tried again
            return
        if self._admission.traffic is not None:
            self._admission.traffic.told(*missing)

    def tick(self) -> None:
        """The deadline has come: the end of the session, or of the time to authenticate."""
        if self._over:
            return
        now = self._clock.monotonic()
        if now >= self._admission.ends_at:
            self._expired()
        elif self._admission.by_certificate:
            self._admit_certificate(now)
        elif self.busy:
            pass  # what else is due comes after the message at hand
        elif now >= self._refusal.due:
            step = self._refusal.take()
            if (close := self._say(step.answer, step.close, now)) is not None:
                self._close(close)
        elif self._ending is None and (close := self._renewal.tick(now)) is not None:
            self._close(close)
        self._after(now)

    def upstream_proven(self, until: float) -> None:
        """The broker knows the gateway's account on this connection, until then (core.session.Proving)."""
        if not self._over:
            now = self._clock.monotonic()
            self._renewal.proven(until, now)
            self._after(now)

    def upstream_endpoint(self) -> Endpoint | None:
        return self._context.backend.endpoint(self._context.node_id)

    def upstream_lost(self, reason: Reason, detail: str) -> None:
        if not self._over:
            self._context.backend.want_refresh()
            self._close(Close(reason, detail))

    def closed(self, reason: Reason, detail: str) -> None:
        """The connection has ended: write it down, give back what is held."""
        self._over = True
        self.deadline = NEVER
        short = self.short_way
        short.brief(free=False, open=False, parked=True)
        self._admission.leave()
        counts: dict[str, int | str] = {"client_software": self._sasl.software}
        counts |= {"requests": self._requests + short.requests_taken}
        counts |= {"bytes_in": self._octets_in + short.octets_in, "bytes_out": self._octets_out + short.octets_out}
        self._log.closed(reason, detail, counts)

    @property
    def talking(self) -> bool:
        """The gateway's own account is being proven again (session.TalksItself)."""
        return self._renewal.under_way

    @property
    def _held(self) -> bool:
        """No further request is taken: nowhere to put it, the end is near, or the gateway renews its own login."""
        return self._paused or self._queue.full or self.busy != ""

    @property
    def _paused(self) -> bool:
        return self._ending is not None or self._refusal.step is not None or self._renewal.under_way

    def _wait(self, ask: Ask) -> None:
        self._waiting = ask
        self.effects.asks.append(ask)
        self.parked = True

    def _expired(self) -> None:
        if self._ending is not None:
            self._close(self._ending)
        elif self._admission.traffic is None:
            close = Close(reasons.AUTHENTICATION_TIMEOUT)
            self._log.refused(close.reason, "", self._sasl.mechanism, self._sasl.software)
            self._close(close)
        else:
            self._close(Close(reasons.SESSION_EXPIRED))
        self.deadline = NEVER

    def _close(self, close: Close) -> None:
        if not self._over:
            self._over = True
            self.effects.close = close

    def _after(self, now: float) -> None:
        """At the end of a call: what the pump looks at next, and what is counted per call."""
        renewal, traffic = self._renewal, self._admission.traffic
        if self._ending is not None and not len(self._queue):
            self._close(self._ending)
        renewal.settle(now)
        held = self._paused
        self.parked = held or self._waiting is not None or self._queue.full or self.busy != ""
        ends_at = self._admission.ends_at
        times = (ends_at, ends_at, ends_at) if self.busy else (ends_at, renewal.deadline, self._refusal.due)
        self.deadline = NEVER if self._over else min(times)
        if self.effects.to_client:
            self._octets_out += sum(map(len, self.effects.to_client))
        if traffic is None:
            return
        charging = traffic.charging
        if charging.throttle_seconds and self._log.throttled(charging.throttle_seconds, now):
            charging.throttle_seconds = 0.0
        self._brief(traffic, held or self._over)

    def _brief(self, traffic: Traffic, held: bool) -> None:
        """Tell the short way what it may do until this class is called again."""
        held = held or self.busy != ""
        free = not held and not traffic.charging.throttle_seconds
        waiting = self._waiting is not None
        self.short_way.follow(traffic, self._admission.ends_at)
        self.short_way.brief(free, free and not waiting and self._sasl.complete and traffic.settled, held or waiting)

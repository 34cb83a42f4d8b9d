"""A Kafka session with everything around it made by hand: a clock that is moved, rights in a table, tokens by name.

world = World(); world.connect(); world.login()          a client that is authenticated
world.send(frame, ...) -> Seen                           what the pump would have done after that chunk
world.reply(frame, ...) -> Seen                          the same for the broker's bytes

A `Seen` has bytes, not views, so that it can be compared; the pump's obligations are kept here as the contract says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from gateway.core.audit import AllowedTally, AuditEvent
from gateway.core.identity import Certificate, Identity, Principal
from gateway.core.limits import Quotas
from gateway.core.meters import Meters
from gateway.core.reasons import Reason
from gateway.core.rights import Decision, Quota
from gateway.core.session import Ask, Close, Endpoint, Fact, Peer, Sliced, offered
from gateway.core.settings import Authentication, BrokerPorts, Limits, Listener, ListenerTls
from gateway.core.tokens import Accepted, KeyMissing, Refused
from gateway.kafka import codec
from gateway.kafka.backend import BackendState, BrokerVersions
from gateway.kafka.session import KafkaSession, ListenerContext

START = 1_800_000_000.0
TOPIC_A, TOPIC_B, TOPIC_NEW = b"A" * 16, b"B" * 16, b"N" * 16
BAD_TOKEN = Reason("test-bad-token", "x", "x", "x")  # made here, so that the register does not know it
GONE = Reason("test-gone", "x", "x", "x")
PLENTY = Quota(produce_bytes=1e12, consume_bytes=1e12, requests=1e9, connections=1000)


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return START + self.now - 1000.0


class TableRights:
    """Allowed are the (kind, operation, name) in a set; a name of * allows all of them."""

    def __init__(self, allowed: Collection[tuple[str, str, str]], quota: Quota, revision: str) -> None:
        self.allowed = allowed
        self.quota = quota
        self.revision = revision
        self.valid_until = float("inf")

    def decide(self, kind: str, operation: str, name: str) -> Decision:
        good = (kind, operation, name) in self.allowed or (kind, operation, "*") in self.allowed
        return Decision(good, "rule-1" if good else "", "allowed" if good else "no-rule")

    def decide_any(self, kind: str, operation: str) -> Decision:
        good = any(each[:2] == (kind, operation) for each in self.allowed)
        return Decision(good, "", "allowed" if good else "no-rule")


class TablePolicy:
    def __init__(self, allowed: Collection[tuple[str, str, str]], quota: Quota = PLENTY, revision: str = "r1") -> None:
        self._rights = TableRights(frozenset(allowed), quota, revision)
        self.revision = revision
        self.asked = 0

    def everything(self, allowed: Collection[tuple[str, str, str]]) -> None:
        """Ask this collection itself, which may hold more than can be told."""
        self._rights.allowed = allowed

    def rights(self, identity: Identity, backend: str, wall: float) -> TableRights:
        self.asked += 1
        return self._rights

    def claims_for_audit(self, claims: Mapping[str, object]) -> dict[str, object]:
        return {name: value for name, value in claims.items() if name == "team"}


@dataclass
class Policies:
    current: Any


class NamedTokens:
    """``alice`` is a good token of alice for an hour, ``alice.90`` one for 90 s; ``bad...`` is refused.

    ``newkey`` needs a key that is not there until `keys_come` is set.
    """

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.keys_come = False

    def validate(self, token: str | bytes, issuers: Collection[str], wall: float) -> Any:
        text = token if isinstance(token, str) else token.decode()
        if text.startswith("bad"):
            return Refused(BAD_TOKEN, "bad")
        if text.startswith("newkey") and not self.keys_come:
            return KeyMissing("corp", "kid-2")
        name, _, seconds = text.partition(".")
        claims = MappingProxyType({"sub": name, "team": "payments", "secret": "never written"})
        return Accepted(Principal("jwt", "corp", name), claims, wall + float(seconds or 3600), "jti-1")


ALL_TOPICS = (
    ("topic", "Read", "a"), ("topic", "Write", "a"), ("topic", "Describe", "a"), ("group", "Read", "*"),
    ("group", "Describe", "*"),
)  # fmt: skip


@dataclass
class Seen:
    """What one call left, as the pump would have taken it."""

    up: bytes = b""
    down: bytes = b""
    asks: list[Ask] = field(default_factory=list)
    mute_until: float = 0.0
    close: Close | None = None

    @property
    def answers(self) -> list[bytes]:
        return frames(self.down)

    @property
    def requests(self) -> list[bytes]:
        return frames(self.up)

    def __iadd__(self, other: Seen) -> Seen:
        self.up += other.up
        self.down += other.down
        self.asks += other.asks
        self.mute_until = max(self.mute_until, other.mute_until)
        self.close = self.close or other.close
        return self


class World:
    def __init__(
        self,
        allowed: Collection[tuple[str, str, str]] = ALL_TOPICS,
        *,
        quota: Quota = PLENTY,
        limits: Limits | None = None,
        node_id: int | None = 1,
        issuers: tuple[str, ...] = ("corp",),
        session_max: float = 3600.0,
        certificate: Certificate | None = None,
        quotas: Quotas | None = None,
        clock: Any = None,
    ) -> None:
        self.clock = clock if clock is not None else HandClock()
        self.events: list[AuditEvent] = []
        self.tokens = NamedTokens(self.clock)
        self.policies = Policies(TablePolicy(allowed, quota))
        self.state = ready_state()
        self.meters = Meters()
        self.tally = AllowedTally()
        self.quotas = quotas if quotas is not None else Quotas()
        self.limits = limits or Limits()
        tls = ListenerTls(
            certificate="c", key="k", client_certificate="optional" if issuers else "required", client_ca="ca"
        )
        listener = Listener(
            name="front",
            backend="main",
            port=9000,
            broker_ports=BrokerPorts(base=9100),
            advertised="gw.test",
            tls=tls,
            authentication=Authentication(issuers=issuers, session_max=session_max),
        )
        self.context = ListenerContext(
            listener=listener,
            node_id=node_id,
            backend=self.state,
            policies=self.policies,
            validator=self.tokens,  # type: ignore[arg-type]
            quotas=self.quotas,
            limits=self.limits,
            audit=self.events.append,
            tally=self.tally,
            meters=self.meters,
            clock=self.clock,
        )
        self.certificate = certificate
        self.unread = b""
        self.unanswered = b""
        self.held_until = 0.0
        self.ended: Close | None = None
        self.slices = 0
        """Slices after which a message was not decided yet."""
        self.between: Callable[[], None] = lambda: None
        self.connect()

    def joins(self, world: World, name: str) -> None:
        """Become another connection through the same gateway, of this principal."""
        self.context, self.events, self.tally, self.state = world.context, world.events, world.tally, world.state
        self.policies, self.clock = world.policies, world.clock
        self.connect()
        self.login(name)

    def connect(self, greeted: float | None = None) -> None:
        """Another connection; `greeted`: when its handshake was over."""
        peer = Peer("c1", ip_address("192.0.2.7"), 51000, self.certificate, "gw.test", "TLSv1.3", greeted=greeted)
        self.session = KafkaSession(peer, self.context)

    # What the pump does

    @property
    def busy(self) -> str:
        sliced = offered(self.session, Sliced)
        return sliced.busy if sliced is not None else ""

    def _take(self) -> Seen:
        effects = self.session.effects
        seen = Seen(
            b"".join(bytes(part) for part in effects.to_upstream),
            b"".join(bytes(part) for part in effects.to_client),
            list(effects.asks),
            effects.mute_until,
            effects.close,
        )
        effects.clear()
        self.held_until = max(self.held_until, seen.mute_until)
        if seen.close is not None:
            self.ended = seen.close
            self.session.closed(seen.close.reason, seen.close.detail)
        return seen

    def _show(self) -> Seen:
        """Show unconsumed client bytes as long as the contract says so."""
        seen = Seen()
        while self._client_is_shown():
            before = len(self.unread)
            seen += self._show_once()
            if len(self.unread) == before and not self._between_slices("client"):
                break
        return seen

    def _between_slices(self, side: str) -> bool:
        """Whether a message is to be shown again; a test may let something happen between two slices."""
        if self.ended is not None or self.busy != side:
            return False
        self.slices += 1
        self.between()
        return True

    def _client_is_shown(self) -> bool:
        return (
            self.ended is None
            and (self.busy == "client" or not self.session.parked)
            and self.clock.now >= self.held_until
            and len(self.unread) >= self.session.client_wanted
        )

    def _show_once(self) -> Seen:
        if not self._client_is_shown():
            return Seen()
        # a buffer that is overwritten afterwards, as the pump's scratch is
        scratch = bytearray(self.unread)
        shown = memoryview(scratch)
        consumed = self.session.receive(shown)
        seen = self._take()
        scratch[:] = bytes(len(scratch))
        shown.release()
        scratch.clear()  # raises BufferError if the session kept a view of it
        self.unread = self.unread[consumed:]
        return seen

    def _answered(self) -> Seen:
        """Show unconsumed bytes of the broker's, once."""
        scratch = bytearray(self.unanswered)
        shown = memoryview(scratch)
        consumed = self.session.answer(shown)
        seen = self._take()
        scratch[:] = bytes(len(scratch))
        shown.release()
        scratch.clear()
        self.unanswered = self.unanswered[consumed:]
        return seen

    def send(self, *parts: bytes, chunk: int = 0) -> Seen:
        """The client's bytes come, whole or in chunks."""
        data = b"".join(parts)
        seen = Seen()
        for at in range(0, len(data), chunk or max(1, len(data))):
            self.unread += data[at : at + (chunk or len(data))]
            seen += self._show()
        return seen

    def reply(self, *parts: bytes, chunk: int = 0) -> Seen:
        """The broker's bytes come."""
        data = b"".join(parts)
        seen = Seen()
        for at in range(0, len(data), chunk or max(1, len(data))):
            self.unanswered += data[at : at + (chunk or len(data))]
            while self.ended is None and (
                self.busy == "upstream" or len(self.unanswered) >= self.session.upstream_wanted
            ):
                before = len(self.unanswered)
                seen += self._answered()
                if len(self.unanswered) == before and not self._between_slices("upstream"):
                    break
            seen += self._show()
        return seen

    def tell(self, fact: Fact) -> Seen:
        self.session.told(fact)
        seen = self._take()
        seen += self._show()
        return seen

    def advance(self, seconds: float) -> Seen:
        """Time passes; the deadline is kept."""
        seen = Seen()
        end = self.clock.now + seconds
        while self.ended is None and self.session.deadline <= end:
            self.clock.now = max(self.clock.now, self.session.deadline)
            self.session.tick()
            seen += self._take()
        self.clock.now = end
        seen += self._show()
        return seen

    def login(self, token: str = "alice") -> Seen:
        seen = self.send(handshake(1), authenticate(token, 2))
        assert [body_of(36, 2, answer)["errorCode"] for answer in seen.answers[1:]] == [0], seen
        return seen

    def lines(self, *events: str) -> list[AuditEvent]:
        return [event for event in self.events if event.event in events]


def ready_state() -> BackendState:
    state = BackendState("main")
    state.cluster_id = "cluster-1"
    state.set_brokers({1: Endpoint("broker1.internal", 19092), 2: Endpoint("broker2.internal", 19093)})
    everything = {key: api.versions for key, api in codec.APIS.items()}
    for node_id in (1, 2):
        state.set_versions(node_id, BrokerVersions(everything, {"group.version": (0, 1)}, {"group.version": (1, 1)}, 7))
    state.auto_create_topics = False
    state.topics.learn("a", TOPIC_A)
    state.topics.learn("b", TOPIC_B)
    return state


# Frames


def framed(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


def frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack_from(">i", data)
        assert len(data) >= 4 + size, "a frame in part"
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def request(api_key: int, version: int, correlation_id: int, body: dict[str, Any], client_id: str = "test") -> bytes:
    header = codec.encode_request_header(api_key, version, correlation_id, client_id)
    return framed(header + codec.encode_request(api_key, version, body))


def response(api_key: int, version: int, correlation_id: int, body: dict[str, Any]) -> bytes:
    header = codec.encode_response_header(api_key, version, correlation_id)
    return framed(header + codec.encode_response(api_key, version, body))


def body_of(api_key: int, version: int, frame: bytes) -> dict[str, Any]:
    _, offset = codec.parse_response_header(api_key, version, frame)
    return codec.decode_response(api_key, version, frame[offset:])


def request_body(frame: bytes) -> tuple[codec.RequestHeader, dict[str, Any]]:
    header = codec.parse_request_header(memoryview(frame))
    return header, codec.decode_request(header.api_key, header.api_version, frame[header.body_offset :])


def id_of(frame: bytes) -> int:
    return struct.unpack_from(">i", frame)[0]


def handshake(correlation_id: int, mechanism: str = "PLAIN", version: int = 1) -> bytes:
    return request(17, version, correlation_id, {"mechanism": mechanism})


def plain(token: str) -> bytes:
    return b"\0user\0" + token.encode()


def bearer(token: str) -> bytes:
    return b"n,,\x01auth=Bearer " + token.encode() + b"\x01\x01"


def authenticate(token: str | bytes, correlation_id: int, version: int = 2) -> bytes:
    data = token if isinstance(token, bytes) else plain(token)
    return request(36, version, correlation_id, {"authBytes": data})


def versions(correlation_id: int, version: int = 3, **fields: Any) -> bytes:
    body = {"clientSoftwareName": "test-client", "clientSoftwareVersion": "1.0", **fields} if version >= 3 else {}
    return request(18, version, correlation_id, body)


def batch(attributes: int = 0, octets: int = 20, producer_id: int = -1) -> bytes:
    """A record batch as far as a gateway looks at it."""
    rest = struct.pack(">i b I h i q q q h i i", 0, 2, 0, attributes, 0, 0, 0, producer_id, -1, -1, 1) + bytes(octets)
    return struct.pack(">q i", 0, len(rest)) + rest


def produce(
    correlation_id: int, *topics: str | bytes, version: int = 9, acks: int = -1, attributes: int = 0, **fields: Any
) -> bytes:
    data = [
        {
            **({"topicId": topic} if isinstance(topic, bytes) else {"name": topic}),
            "partitionData": [{"index": 0, "records": batch(attributes)}],
        }
        for topic in topics
    ]
    return request(0, version, correlation_id, {"acks": acks, "timeoutMs": 1000, "topicData": data, **fields})


def produced(correlation_id: int, *topics: str | bytes, version: int = 9, error: int = 0, **fields: Any) -> bytes:
    responses = [
        {
            **({"topicId": topic} if isinstance(topic, bytes) else {"name": topic}),
            "partitionResponses": [{"index": 0, "errorCode": error, "baseOffset": 5}],
        }
        for topic in topics
    ]
    return response(0, version, correlation_id, {"responses": responses, **fields})


def fetch(correlation_id: int, *topics: str | bytes, version: int = 12, **fields: Any) -> bytes:
    asked = [
        {
            **({"topicId": topic} if isinstance(topic, bytes) else {"topic": topic}),
            "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}],
        }
        for topic in topics
    ]
    return request(1, version, correlation_id, {"maxWaitMs": 100, "minBytes": 1, "topics": asked, **fields})


def fetched(correlation_id: int, *topics: str | bytes, version: int = 12, error: int = 0, **fields: Any) -> bytes:
    given = [
        {
            **({"topicId": topic} if isinstance(topic, bytes) else {"topic": topic}),
            "partitions": [
                {"partitionIndex": 0, "errorCode": error, "highWatermark": 9, "records": b"" if error else batch()}
            ],
        }
        for topic in topics
    ]
    session = {"sessionId": 77} if version >= 7 else {}
    return response(1, version, correlation_id, {**session, "responses": given, **fields})


def heartbeat(correlation_id: int, group: str = "g") -> bytes:
    return request(12, 4, correlation_id, {"groupId": group, "generationId": 1, "memberId": "m"})


def beaten(correlation_id: int, throttle: int = 0) -> bytes:
    return response(12, 4, correlation_id, {"throttleTimeMs": throttle, "errorCode": 0})

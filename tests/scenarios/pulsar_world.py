"""A Pulsar session with everything around it made by hand, as kafka_world has it for Kafka's.

world = PulsarWorld(); world.login()        a client whose CONNECT the broker has taken
world.ask("lookup", topic=..., request_id=1) -> Seen
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from gateway.core.accounts import Credential, LoginFailed
from gateway.core.audit import AllowedTally, AuditEvent
from gateway.core.failed_logins import FailedLogins
from gateway.core.identity import Certificate
from gateway.core.limits import Quotas
from gateway.core.meters import Meters
from gateway.core.rights import Quota
from gateway.core.session import Close, Endpoint, Peer
from gateway.core.settings import Authentication, Limits, Listener, ListenerTls
from gateway.pulsar import commands, schema
from gateway.pulsar.backend import PulsarBackend
from gateway.pulsar.broker_names import BrokerNames
from gateway.pulsar.commands import Command
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.session import PulsarSession
from tests.scenarios.kafka_world import PLENTY, HandClock, NamedTokens, Policies, Seen, TablePolicy, World

ORDERS = "persistent://public/default/orders"
PAYROLL = "persistent://public/default/payroll"
SUBSCRIPTION = "app-sub"
Access = tuple[str, str, str]
OF_APP: tuple[Access, ...] = (
    *(("topic", each, ORDERS) for each in ("Produce", "Consume", "Lookup", "GetSchema", "PutSchema")),
    *(("subscription", each, SUBSCRIPTION) for each in ("Subscribe", "Seek", "GetStats")),
    ("namespace", "ListTopics", "public/default"),
)
BROKER = Endpoint("broker1.internal", 6650)


class Account:
    """The gateway's own, as a session sees it."""

    names = frozenset({"gw", "admin"})

    def __init__(self) -> None:
        self.secret = "own-token"

    def credential(self) -> Credential | None:
        return Credential("OAUTHBEARER", "", self.secret) if self.secret else None

    def renewed(self) -> None: ...

    def refused(self, failed: LoginFailed) -> None: ...


class PulsarWorld(World):
    """`allowed` is what the policy's table has. With `account` None the brokers authenticate nobody."""

    def __init__(
        self,
        allowed: Collection[Access] = OF_APP,
        *,
        quota: Quota = PLENTY,
        limits: Limits | None = None,
        issuers: tuple[str, ...] = ("corp",),
        certificate: Certificate | None = None,
        account: bool = True,
        quotas: Quotas | None = None,
        tokens_passed: bool = False,
        failures: FailedLogins | None = None,
    ) -> None:
        self.clock = HandClock()
        self.events: list[AuditEvent] = []
        self.tokens = NamedTokens(self.clock)
        self.policies = Policies(TablePolicy(allowed, quota))
        self.backend = PulsarBackend("main", [BROKER], BrokerNames(b"k" * 32, "main", self.clock), plaintext=True)
        self.backend.reached = True
        self.meters = Meters()
        self.tally = AllowedTally()
        self.quotas = quotas if quotas is not None else Quotas()
        self.limits = limits or Limits()
        self.account = Account()
        client_certificate = "optional" if issuers else "required"
        tls = ListenerTls(certificate="c", key="k", client_certificate=client_certificate, client_ca="ca")
        self.pulsar = ListenerContext(
            listener=Listener(
                name="front", protocol="pulsar", backend="main", port=6651, tls=tls,
                broker_names="*.b.gw.test",
                authentication=Authentication(issuers=issuers),
            ),
            backend=self.backend,
            policies=self.policies,
            validator=self.tokens if issuers else None,  # type: ignore[arg-type]
            quotas=self.quotas,
            limits=self.limits,
            audit=self.events.append,
            tally=self.tally,
            meters=self.meters,
            clock=self.clock,
            account=self.account if account else None,
            tokens_passed=tokens_passed,
            failures=failures,
        )  # fmt: skip
        self.certificate = certificate
        self.slices = 0
        self.between = lambda: None
        self.connect()

    def connect(self, server_name: str = "gw.test", *, greeted: float | None = None) -> None:
        """Another connection, by the name that is dialled; `greeted`: when its handshake was over."""
        self.unread = b""
        self.unanswered = b""
        self.held_until = 0.0
        self.ended: Close | None = None
        address = ip_address("192.0.2.7")
        peer = Peer("c1", address, 51000, self.certificate, server_name, "TLSv1.3", greeted=greeted)
        self.session = PulsarSession(peer, self.pulsar)  # type: ignore[assignment]

    def ask(self, command: str, **fields: Any) -> Seen:
        """The client sends one command."""
        return self.send(commands.framed(command, **fields))

    def say(self, command: str, **fields: Any) -> Seen:
        """The broker does."""
        return self.reply(commands.framed(command, **fields))

    def greet(self, token: str = "alice", **more: Any) -> Seen:
        fields = {"client_version": "test 1", "protocol_version": 21, "auth_method_name": "token"}
        fields |= {"auth_data": token.encode(), "feature_flags": {"supports_auth_refresh": True}}
        return self.ask("connect", **{**fields, **more})

    def login(self, token: str = "alice", **more: Any) -> Seen:
        seen = self.greet(token, **more)
        assert names(seen.up) == ["connect"], seen
        seen = self.say("connected", server_version="4.0.8", protocol_version=21, max_message_size=5 << 20)
        assert names(seen.down) == ["connected"], seen
        return seen

    def produce_to(self, topic: str = ORDERS, producer: int = 1, request: int = 1, **more: Any) -> Seen:
        """Open a producer, which the broker takes."""
        seen = self.ask("producer", topic=topic, producer_id=producer, request_id=request, **more)
        if names(seen.up) == ["producer"]:
            seen += self.say("producer_success", request_id=request, producer_name="p", producer_ready=True)
        return seen

    def subscribe_to(
        self, topic: str = ORDERS, subscription: str = SUBSCRIPTION, consumer: int = 1, request: int = 2, **more: Any
    ) -> Seen:
        fields = {"topic": topic, "subscription": subscription, "sub_type": 0, "consumer_id": consumer, **more}
        seen = self.ask("subscribe", request_id=request, **fields)
        if names(seen.up) == ["subscribe"]:
            seen += self.say("success", request_id=request)
        return seen

    def allow(self, *allowed: Access, without: Collection[Access] = ()) -> None:
        """Another revision of the policy."""
        kept = [each for each in (*OF_APP, *allowed) if each not in without]
        self.policies.current = TablePolicy(kept, revision="r2")


def found(data: bytes) -> list[tuple[Command, bytes]]:
    """The commands of whole frames, each with its payload."""
    seen = []
    while data:
        total, size = commands.sizes(memoryview(data), 0)
        assert len(data) >= 4 + total, "a frame in part"
        seen.append((commands.decode(memoryview(data)[8 : 8 + size]), data[8 + size : 4 + total]))
        data = data[4 + total :]
    return seen


def names(data: bytes) -> list[str]:
    return [command.name for command, _ in found(data)]


def only(data: bytes) -> Any:
    """The body of the one command there is."""
    ((command, _),) = found(data)
    return command.body


def send_frame(producer: int = 1, payload: bytes = b"\x0e\x01checksum and records", **more: Any) -> bytes:
    encoded = commands.make("send", producer_id=producer, sequence_id=1, num_messages=1, **more).encoded
    assert encoded is not None
    return b"".join(bytes(part) for part in commands.frame(encoded, payload))


def message_frame(consumer: int = 1, payload: bytes = b"\x0e\x01records") -> bytes:
    base = schema.Base(type=9)  # type: ignore[call-arg]
    base.message.consumer_id = consumer  # type: ignore[attr-defined]
    return b"".join(bytes(part) for part in commands.frame(base.SerializeToString(), payload))

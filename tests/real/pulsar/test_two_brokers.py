"""Two real brokers of one cluster behind the gateway: lookups that lead from one to the other, a bundle that moves, a
broker that falls out. Clients meet the gateway and nobody else, and nothing acknowledged is lost."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pulsar
import pytest

from tests.real.gateway import GatewayProcess
from tests.real.pulsar.broker import HOST, PROXY_ROLE, PulsarBroker, SecondBroker
from tests.real.pulsar.go import asked, go
from tests.real.pulsar.site import POLICY, QUIET_MS, ROLE, Site, add_web, gateway_for, receive, unique
from tests.real.pulsar.wire import RawPulsar

REDIRECT, CONNECT = 0, 1
SHARED, NAMESPACE = "public/default", "public/two"
BUNDLES, TOPICS = 16, 64
"""Brokers are given the bundles in turn, when each is first asked for; so many topics are tried until each has one."""
MOVES_MAX = 10
Pair = tuple[Site, SecondBroker]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A cluster of its own, without transactions: where the bundle of their system topic moves, readers wait for ever.
    The gateway was told of the first broker only."""
    with (
        PulsarBroker(tmp_path_factory.mktemp("pulsar-first"), transactions=False) as first,
        SecondBroker(tmp_path_factory.mktemp("pulsar-second"), first) as second,
        gateway_of_two(tmp_path_factory.mktemp("gateway-two"), first, second) as gateway,
    ):
        settings = {"bundles": {"numBundles": BUNDLES}, "replication_clusters": ["standalone"]}
        first.admin("PUT", f"/namespaces/{NAMESPACE}", settings)
        for role in (PROXY_ROLE, ROLE):
            first.grant(role, "produce", "consume", namespace=NAMESPACE)
        yield Site(first, gateway), second


def gateway_of_two(folder: Path, broker: PulsarBroker, second: SecondBroker) -> GatewayProcess:
    """Its HTTP interface begins at the first broker, and may be sent on to the second."""
    made = gateway_for(folder, broker, POLICY.replace(SHARED, NAMESPACE))
    add_web(made, broker, tls=False)
    made.config["backends"][0]["web"]["brokers"] = [second.web]
    return made


def new_topic() -> str:
    return f"persistent://{NAMESPACE}/{unique('app-orders')}"


def unload(broker: PulsarBroker, bundle: str, to: PulsarBroker) -> None:
    """Move a bundle to that broker."""
    web = f"127.0.0.1:{to.web_port}"
    broker.admin("PUT", f"/namespaces/{NAMESPACE}/{bundle}/unload?destinationBroker={web}")


def move(broker: PulsarBroker, topic: str, to: PulsarBroker) -> None:
    """Have the topic's bundle at that broker. The leader may give it to another first, as it sees fit."""
    for _ in range(MOVES_MAX):
        unload(broker, bundle_of(broker, topic), to)
        if owner(broker, topic) == to.port:
            return
    raise AssertionError(f"{topic} did not move")


def owner(broker: PulsarBroker, topic: str) -> int:
    """The port of the broker that has the topic now."""
    found = broker.lookup(f"/topic/{topic.replace('://', '/')}")
    return int(found["brokerUrl"].rpartition(":")[2])


def bundle_of(broker: PulsarBroker, topic: str) -> str:
    return str(broker.lookup(f"/topic/{topic.replace('://', '/')}/bundle"))


def of_each(site: Site, second: SecondBroker) -> dict[int, str]:
    """A topic at either broker, by its port."""
    both = {each.port: each for each in (site.broker, second)}
    found: dict[int, str] = {}
    for _ in range(TOPICS):
        topic = new_topic()
        found.setdefault(owner(site.broker, topic), topic)
        if len(found) == 2:
            return found
    (bare,) = both.keys() - found.keys()
    found[bare] = new_topic()
    move(site.broker, found[bare], both[bare])
    return found


def talks_to(ports: set[int]) -> list[str]:
    """Connections of this process (where the C++ client runs) to these ports."""
    mine = set()
    for file in Path("/proc/self/fd").iterdir():
        try:
            mine.add(file.readlink().name)
        except OSError:
            continue
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        remote, inode = fields[2], fields[9]
        if f"socket:[{inode}]" in mine and int(remote.rpartition(":")[2], 16) in ports:
            found.append(remote)
    return found


def test_brokers_redirect_and_clients_never_do(pair: Pair) -> None:
    """Straight to a broker some lookups are answered with the other's address; through the gateway none is."""
    site, second = pair
    topics = of_each(site, second)
    straight = set()
    for port in (site.broker.port, second.port):
        with RawPulsar(port, None) as client:
            client.connect(site.broker.token("admin"))
            client.receive()
            for number, topic in enumerate(topics.values()):
                straight.add(client.ask("lookup", topic=topic, request_id=number).body.broker_url)
    assert straight == {f"pulsar://127.0.0.1:{port}" for port in topics}
    named = {}
    with RawPulsar(site.gateway.port(), site.gateway.ca_file) as client:
        client.connect(site.token())
        client.receive()
        for number, (port, topic) in enumerate(topics.items()):
            body = client.ask("lookup", topic=topic, request_id=number).body
            assert (body.response, body.proxy_through_service_url) == (CONNECT, True)
            assert not any(str(each) in body.broker_url + body.broker_url_tls for each in topics)
            named[port] = body.broker_url_tls.removeprefix("pulsar+ssl://")
    assert len(set(named.values())) == 2, "each broker has a name of its own"
    for port, name in named.items():
        with RawPulsar(site.gateway.port(), site.gateway.ca_file) as client:
            client.connect(site.token(), proxy_to_broker_url=name)
            client.receive()
            answer = client.ask("producer", topic=topics[port], producer_id=1, request_id=1)
            assert answer.name == "producer_success", "the gateway dialled the broker that has the topic"


def test_admin_requests_for_either_brokers_topics(pair: Pair) -> None:
    """A broker sends requests for the other's topics on to it (HTTP 307); the gateway follows, and clients do not."""
    site, second = pair
    topics = of_each(site, second)
    with site.client() as client:
        for topic in topics.values():
            client.create_producer(topic).close()

    def stats(host: str, port: int, topic: str, token: str, tls: ssl.SSLContext | None) -> tuple[int, bytes]:
        made = http.client.HTTPSConnection(host, port, context=tls) if tls else http.client.HTTPConnection(host, port)
        path = f"/admin/v2/{topic.replace('://', '/')}/stats"
        made.request("GET", path, headers={"authorization": f"Bearer {token}"})
        answer = made.getresponse()
        told = answer.status, answer.read()
        made.close()
        return told

    straight = {
        stats(HOST, site.broker.web_port, each, site.broker.token("admin"), None)[0] for each in topics.values()
    }
    assert straight == {200, 307}
    trusting = ssl.create_default_context(cafile=site.gateway.ca_file)
    for topic in topics.values():
        status, body = stats("localhost", site.gateway.ports["web"][0], topic, site.token(), trusting)
        assert status == 200, body
        assert b"msgInCounter" in body
    _, page = site.gateway.admin("/metrics")
    assert 'gateway_pulsar_http_redirects_total{backend="main"} 1.0' in page


def test_topics_of_both_brokers_through_one_door(pair: Pair) -> None:
    site, second = pair
    topics = of_each(site, second).values()
    with site.client() as client:
        for topic in topics:
            consumer = client.subscribe(topic, "app-sub")
            client.create_producer(topic).send(topic.encode())
            assert receive(consumer, 1) == [topic.encode()]
        assert talks_to({site.gateway.port()}), "it looks in the right place"
        assert talks_to({site.broker.port, second.port}) == []


def test_the_go_client_meets_both_brokers(pair: Pair, tmp_path: Path) -> None:
    site, second = pair
    token = tmp_path / "token"
    token.write_text(site.token())
    for topic in of_each(site, second).values():
        answer = go(asked(site, "roundtrip", token, Topic=topic, Subscription="app-go", Count=20))
        assert sorted(map(int, answer["ok"])) == list(range(20)), answer


class Stream:
    """A producer and a consumer at work on one topic in threads of their own; at its end nothing may be missing."""

    def __init__(self, client: pulsar.Client, topic: str) -> None:
        self._consumer = client.subscribe(topic, "app-stream", initial_position=pulsar.InitialPosition.Earliest)
        self._producer = client.create_producer(topic, send_timeout_millis=0, batching_enabled=False)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: set[int] = set()
        self.received: set[int] = set()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._produce, self._consume)]
        for thread in self._threads:
            thread.start()

    def _produce(self) -> None:
        number = 0
        while not self._stopping.is_set():
            try:
                self._producer.send_async(str(number).encode(), self._sent(number))
            except pulsar.PulsarException:  # its queue is full: nobody is there
                time.sleep(0.05)
                continue
            number += 1
            time.sleep(0.005)
        self._producer.flush()

    def _sent(self, number: int) -> Any:
        def answered(result: Any, _: object) -> None:
            if result == pulsar.Result.Ok:
                with self._lock:
                    self.acknowledged.add(number)

        return answered

    def _consume(self) -> None:
        quiet = 0
        while quiet < 2 or self._threads[0].is_alive():
            try:
                message = self._consumer.receive(QUIET_MS)
            except pulsar.Timeout:
                quiet += 1
                continue
            quiet = 0
            self._consumer.acknowledge(message)
            self.received.add(int(message.data()))

    def goes_on(self, by: int = 50) -> None:
        """Until so many more are acknowledged and received."""
        wanted = len(self.acknowledged) + by, len(self.received) + by
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < wanted[0] or len(self.received) < wanted[1]:
            assert time.monotonic() < deadline, f"{len(self.acknowledged)} {len(self.received)}, wanted {wanted}"
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if kind is not None:
            return
        for thread in self._threads:
            thread.join(60)
        assert self.acknowledged
        assert self.acknowledged <= self.received, "something acknowledged was lost"


def test_a_bundle_is_moved_to_the_other_broker_and_back(pair: Pair) -> None:
    site, second = pair
    topic = of_each(site, second)[site.broker.port]
    with site.client(operation_timeout_seconds=60) as client, Stream(client, topic) as stream:
        stream.goes_on()
        for to in (second, site.broker):
            move(site.broker, topic, to)
            stream.goes_on()
        assert talks_to({site.broker.port, second.port}) == []


def test_a_broker_is_killed_while_messages_flow(pair: Pair) -> None:
    """SIGKILL; the other takes over after its session has ended, clients come to it, and the killed one returns."""
    site, second = pair
    topic = of_each(site, second)[second.port]
    with site.client(operation_timeout_seconds=60) as client, Stream(client, topic) as stream:
        stream.goes_on()
        second.kill()
        stream.goes_on()
        assert owner(site.broker, topic) == site.broker.port
        second.start()
        move(site.broker, topic, second)
        stream.goes_on()

"""The gateway's own account towards three brokers that come and go, each of which wants it again every few seconds."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest.million.clients import Client, GroupReader, IdempotentProducer
from loadtest.million.records import Reading, Stream
from loadtest.million.storm import in_sync, shuffled
from tests.real.gateway import GatewayProcess
from tests.real.guarded import (
    CLIENT_SECRET,
    PLAIN_PASSWORD,
    SCRAM_PASSWORD,
    GuardedKafka,
    TokenServer,
    guarded_backend,
    private,
)
from tests.real.site import DIRECT, POLICY, unique, until
from tests.real.test_own_account import metric

pytestmark = [
    pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: the account is the gateway's (unset it)"),
    pytest.mark.timeout(600),
]

WAYS = ("plain", "scram", "oauth", "certificate")
RATE = 100.0
"""Records per second of each way."""
SEEN_SECONDS = 120.0
"""Within which a cluster on a busy machine has found itself again."""


@pytest.fixture(scope="module")
def endpoint(guarded_three: GuardedKafka) -> Iterator[TokenServer]:
    server = TokenServer(guarded_three.ca, guarded_three.issuer, lifetime=8.0)
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(
    guarded_three: GuardedKafka, endpoint: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """One gateway, and a backend for each way to log in, all to the same three brokers."""
    kafka, folder = guarded_three, tmp_path_factory.mktemp("gateway-three-accounts")
    made = GatewayProcess(folder, dict.fromkeys(WAYS, kafka.bootstrap), policy=POLICY)
    plain, scram, secret = (
        private(folder / name, text)
        for name, text in (("plain", PLAIN_PASSWORD), ("scram", SCRAM_PASSWORD), ("secret", CLIENT_SECRET))
    )
    oauth = {
        "token_url": endpoint.url, "client_id": "gw-client", "client_secret_file": secret, "ca": str(kafka.ca.path),
    }  # fmt: skip
    accounts: dict[str, dict[str, Any]] = {
        "plain": {"plain": {"username": "gw", "password_file": plain}},
        "scram": {"scram": {"username": "gw", "password_file": scram}},
        "oauth": {"oauth": oauth},
    }
    for backend in made.config["backends"]:
        guarded_backend(backend, kafka, accounts.get(backend["name"]))
        if backend["name"] == "certificate":
            certificate, key = kafka.ca.client(common_name="gw-certificate")
            backend["bootstrap"] = kafka.mutual.split(",")
            backend["tls"] |= {"certificate": str(certificate), "key": str(key)}
    made.config["log_level"] = "info"
    made.ports["main"] = made.ports["plain"]
    with made:
        yield made


def test_every_way_to_log_in_outlives_brokers_that_come_and_go(
    guarded_three: GuardedKafka, gateway: GatewayProcess
) -> None:
    """One broker is killed, another stopped, leaders move: what each way had acknowledged is there once, in order."""
    cluster, lots = guarded_three.cluster, random.Random(3)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    streams = [Stream(number, unique(f"app.{way}"), 6) for number, way in enumerate(WAYS)]
    for made in admin.create_topics([NewTopic(each.topic, each.partitions, 3) for each in streams]).values():
        made.result(60)
    stop, reading = threading.Event(), Reading(streams)
    senders: list[IdempotentProducer] = []
    readers: list[GroupReader] = []
    for stream, way in zip(streams, WAYS, strict=True):
        settings = gateway.confluent(lambda: gateway.issuer.token("svc-app", groups=["app"]))
        settings["bootstrap.servers"] = gateway.bootstrap(way)
        senders.append(IdempotentProducer(stream, 1 << 30, RATE, settings, stop))
        readers.append(GroupReader(way, [stream.topic], reading, settings | {"group.id": unique("app-g")}, stop))
    clients: list[Client] = [*senders, *readers]
    before = {way: renewals(gateway, way) for way in WAYS}
    for client in clients:
        client.start()
    try:
        for node, fell_out in ((1, cluster.kill), (2, cluster.stop_node)):
            acknowledged = [stream.acknowledged for stream in streams]
            fell_out(node)
            until(
                lambda told=acknowledged: all(s.acknowledged > n + RATE for s, n in zip(streams, told, strict=True)),
                SEEN_SECONDS, f"records go on without broker {node}",
            )  # fmt: skip
            cluster.restart(node, wait=False)
            until(lambda: in_sync(admin), SEEN_SECONDS, "all replicas in sync")
            cluster.move_leaders(shuffled(admin, lots))
        for way in ("plain", "scram", "oauth"):
            until(lambda way=way: renewals(gateway, way) >= before[way] + 6, SEEN_SECONDS, f"renewals of {way}")
        for sender in senders:
            sender.finish()
        for sender in senders:
            sender.join(SEEN_SECONDS)
        until(lambda: not reading.missing(), SEEN_SECONDS, "the readers have read all")
    finally:
        stop.set()
        for client in clients:
            client.join(15)
    reading.compare()
    assert not reading.wrong, reading.examples
    assert [client.failure for client in clients if client.failure] == []
    assert all(stream.acknowledged == len(stream.states) for stream in streams), "nothing was refused"
    refused = [line for line in gateway.audit() if line.get("state") == "account-refused"]
    assert not refused, refused
    assert "Traceback" not in gateway.log()


def renewals(gateway: GatewayProcess, way: str) -> float:
    """Logins that were repeated in place because a broker demanded it."""
    return metric(gateway, "gateway_kafka_renewals_total", backend=way, result="ok")

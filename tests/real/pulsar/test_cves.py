"""Pulsar's CVEs about its HTTP interface, each by its number, through the gateway to a real broker.

That no broker saw a request is told by the broker's own log of requests. Those of other kinds are in test_attacks,
test_clients and test_web; that of the functions worker (CVE-2023-37579) is in test_functions, which has one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.real.gateway import GatewayProcess
from tests.real.pulsar import site
from tests.real.pulsar.broker import PulsarBroker
from tests.real.pulsar.rest_asking import ASKED, SPACE, TENANT, Request
from tests.real.pulsar.site import CONSUMER, PRODUCER, ROLE, Site, add_web, gateway_for, receive, unique
from tests.real.site import until

PRODUCES, CONSUMES = (PRODUCER, "producers"), (CONSUMER, "readers")
"""A principal with one grant, at the broker and here, and the group by which it has it here."""
DENIED = (401, 403)
PREFIX = "/admin/v2/persistent/{tenant}/{namespace}/{topic}"


class Web(Site):
    """With a listener for the HTTP interface."""

    def __init__(self, broker: PulsarBroker, gateway: GatewayProcess, port: int) -> None:
        super().__init__(broker, gateway)
        self.port = port

    def ask(self, method: str, path: str, who: tuple[str, str] | None, body: bytes | None = None) -> tuple[int, bytes]:
        token = self.token(who[0], groups=(who[1],)) if who is not None else ""
        return site.ask(self.gateway, self.port, method, path, token, body)

    def unseen(self, words: str) -> bool:
        """Whether no broker was asked for anything with these words in it until now."""
        mark = unique("mark")
        self.broker.admin("GET", f"/namespaces/public?{mark}")
        until(lambda: any(mark in line for line in self._requests()), what="the broker's log of this")
        return not any(words in line for line in self._requests())

    def _requests(self) -> list[str]:
        return [line for line in self.broker.log().splitlines() if "RequestLog" in line]


@pytest.fixture(scope="module")
def web(broker: PulsarBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    gateway = gateway_for(tmp_path_factory.mktemp("gateway-cves"), broker)
    port = add_web(gateway, broker)
    with gateway:
        yield Web(broker, gateway, port)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/proxy-stats/connections"),
        ("GET", "/proxy-stats/topics"),
        ("GET", "/proxy-stats/logging"),
        ("POST", "/proxy-stats/logging/2"),
    ],
)
def test_a_proxys_statistics_and_log_level_are_nobodys(web: Web, method: str, path: str) -> None:
    """CVE-2022-34321: /proxy-stats wanted no login, and set what the proxy wrote down. There is no such thing here, and
    no broker is asked for it. (The admin port's own: tests/integration/test_admin.py.)"""
    assert web.ask(method, path, None)[0] == 401
    assert web.ask(method, path, (ROLE, "app"))[0] in (403, 404)
    assert web.unseen("proxy-stats")


def test_what_is_produced_over_rest_is_produced_by_the_client(web: Web) -> None:
    """CVE-2023-30428: the broker looked at the proxy's rights. Here it is told the client's name, and by that denies
    what the gateway's own role may do; who has no right here does not come so far."""
    topic = web.topic()
    path = f"/topics/persistent/public/default/{topic.rpartition('/')[2]}"
    mark = unique("by-rest")
    body = json.dumps({"producerName": "rest", "messages": [{"payload": mark}]}).encode()
    with web.client() as client:
        consumer = client.subscribe(topic, "app-rest")
        assert web.ask("POST", path, (ROLE, "app"), body)[0] == 200
        assert receive(consumer, 1) == [mark.encode()]
        at = web.audited()
        assert web.ask("POST", path, ("svc-nogrant", "app"), body)[0] in DENIED, "the broker's"
        assert not [line for line in web.gateway.audit()[at:] if line["event"] == "denied"]
        assert web.ask("POST", path, CONSUMES, body)[0] in DENIED, "the gateway's"
        web.gateway.wait_audit(event="denied", after=at, operation="Produce", resource=topic)
        client.create_producer(topic).send(b"the last")
        assert receive(consumer, 1) == [b"the last"]


def _of_settings(request: Request) -> bool:
    """Whether it changes what is set for a topic, and by a right of its own."""
    changes = {"UpdatePolicies", "Offload", "Replicate"} & {need.operation for need in request.row.needs}
    return request.row.template.startswith(PREFIX) and request.row.method != "GET" and bool(changes)


SETTINGS = tuple(filter(_of_settings, ASKED))


@pytest.mark.parametrize("who", [PRODUCES, CONSUMES], ids=["produce", "consume"])
def test_a_topics_settings_are_not_for_who_produces_or_consumes(web: Web, who: tuple[str, str]) -> None:
    """CVE-2024-28098: retention, offloading and all else that is set for a topic, each by its own route."""
    topic = unique("app-settings")
    for request in SETTINGS:
        path = request.path.replace(f"{TENANT}/{SPACE}/orders", f"public/default/{topic}")
        assert topic in path
        status, words = web.ask(request.row.method, path, who, request.body)
        assert status in DENIED, (request.row.route, status, words)
    assert len(SETTINGS) > 60
    assert web.unseen(topic)


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        (PRODUCES, "PUT", "unload"),
        (PRODUCES, "PUT", "compaction"),
        (PRODUCES, "PUT", "subscription/app-made"),
        (PRODUCES, "PUT", "subscription/app-made/properties"),
        (PRODUCES, "POST", "partitions"),
        (PRODUCES, "DELETE", "partitions"),
        (CONSUMES, "PUT", "unload"),
        (CONSUMES, "PUT", "compaction"),
        (CONSUMES, "POST", "partitions"),
        (CONSUMES, "DELETE", "partitions"),
        (CONSUMES, "POST", "terminate/partitions"),
    ],
)
def test_a_partitioned_topic_is_not_run_by_who_produces_or_consumes(
    web: Web, who: tuple[str, str], method: str, path: str
) -> None:
    """CVE-2024-29834: unloading, compaction, and subscriptions made by a producer."""
    topic = unique("app-parts")
    web.broker.admin("PUT", f"/persistent/public/default/{topic}/partitions", 2)
    asked = f"/admin/v2/persistent/public/default/{topic}/{path}"
    assert web.ask(method, asked, who, b"3" if method == "POST" else b"{}")[0] in DENIED
    assert web.unseen(f"{method} {asked}")
    assert web.broker.admin("GET", f"/persistent/public/default/{topic}/partitions")["partitions"] == 2

"""Pulsar's HTTP interface through the gateway, a real broker behind TLS: curl by HTTP/1.1 and HTTP/2, and strangers.

What each route needs is tried elsewhere (test_rest); here it is the way there and back.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from gateway.http.frames import RESETS_FREE_MAX
from tests.http import Http2Client, request
from tests.integration.test_run import until
from tests.real.gateway import GatewayProcess
from tests.real.missing import Missing
from tests.real.pulsar.broker import HOST, PulsarBroker
from tests.real.pulsar.site import POLICY, ROLE, add_web, gateway_for, unique

TOPICS = "/admin/v2/persistent/public/default"


@dataclass
class Web:
    """A gateway with a listener for the HTTP interface."""

    gateway: GatewayProcess
    broker: PulsarBroker
    port: int

    def token(self, subject: str = ROLE, group: str = "app", lifetime: float = 600.0) -> str:
        return self.gateway.issuer.token(subject, groups=[group], lifetime=lifetime)

    def curl(self, path: str, *more: str, token: str | None = None, http: str = "--http1.1") -> tuple[int, str]:
        """Status and body."""
        found = shutil.which("curl")
        if found is None:
            raise Missing("curl", "Debian: `apt-get install curl`")
        shown = [] if token == "" else ["-H", f"Authorization: Bearer {token or self.token()}"]
        command = [found, "-sS", "--max-time", "30", "--cacert", self.gateway.ca_file, http, *shown]
        command += ["-w", "\n%{http_code} %{http_version}", *more, f"https://localhost:{self.port}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        body, _, last = done.stdout.rpartition("\n")
        status, version = last.split()
        assert version == ("2" if http == "--http2" else "1.1")
        return int(status), body

    def connect(self, *alpn: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.gateway.ca_file)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        plain = socket.create_connection((HOST, self.port), timeout=60)
        return context.wrap_socket(plain, server_hostname="localhost")

    def say(self, data: bytes, *alpn: str) -> bytes:
        """All that the gateway answers, until it ends the connection."""
        with self.connect(*alpn) as client:
            client.sendall(data)
            said = b""
            try:
                while more := client.recv(65536):
                    said += more
            except (ConnectionError, ssl.SSLError):
                pass
            return said


@pytest.fixture(scope="module")
def web(broker: PulsarBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    gateway = gateway_for(tmp_path_factory.mktemp("gateway-web"), broker, limits={"frame_timeout": "2 s"})
    port = add_web(gateway, broker)
    with gateway:
        yield Web(gateway, broker, port)


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_there_and_back(web: Web, http: str) -> None:
    topic = unique("app-web")
    web.broker.admin("PUT", f"/persistent/public/default/{topic}/partitions", 3)
    status, body = web.curl(f"/lookup/v2/topic/persistent/public/default/{topic}-partition-0", http=http)
    assert status == 200, body
    named = json.loads(body)
    assert named["brokerUrlTls"] == f"pulsar+ssl://localhost:{web.gateway.port()}"
    told = json.dumps(named)
    assert not any(str(port) in told for port in (web.broker.port, web.broker.tls_port, web.broker.web_port))
    status, body = web.curl(f"{TOPICS}/{topic}/partitions", http=http)
    assert (status, json.loads(body)["partitions"]) == (200, 3)


def test_the_broker_sees_the_clients_own_principal(web: Web) -> None:
    """CVE-2023-30429: what the client may not do at the broker, the gateway's role does not do for it."""
    topic = unique("app-web")
    status, body = web.curl(
        f"{TOPICS}/{topic}/partitions", "-X", "PUT", "-d", "3", "-H", "Content-Type: application/json"
    )
    assert status in (401, 403), body  # the policy lets it create; the broker's own grants do not


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_without_a_good_token_nothing_is_asked(web: Web, http: str) -> None:
    for token in ("", "none", web.token(lifetime=-100)):
        status, _ = web.curl(f"/lookup/v2/topic/persistent/public/default/{unique('app')}", token=token, http=http)
        assert status == 401
    web.gateway.wait_audit(event="refused", reason="token-expired")


def test_what_is_not_allowed_is_denied_and_told(web: Web) -> None:
    at = len(web.gateway.audit())
    topic = unique("secret")
    status, _ = web.curl(f"/lookup/v2/topic/persistent/public/default/{topic}")
    assert status in (401, 403)
    name = f"persistent://public/default/{topic}"
    web.gateway.wait_audit(event="denied", after=at, resource=name, operation="Lookup")


@pytest.mark.parametrize("header", ["X-Original-Principal: admin", "X-Original-Auth: x"])
def test_nobody_is_a_proxy(web: Web, header: str) -> None:
    status, _ = web.curl(f"/lookup/v2/topic/persistent/public/default/{unique('app')}", "-H", header)
    assert status == 403


def test_no_websocket(web: Web) -> None:
    told = {"Authorization": f"Bearer {web.token()}", "Connection": "Upgrade", "Upgrade": "websocket"}
    path = "/ws/v2/producer/persistent/public/default/app-a"
    assert web.say(request(path, **told), "http/1.1").startswith(b"HTTP/1.1 501 ")
    status, _ = web.curl(path)
    assert status in (403, 404)


def test_requests_that_would_be_smuggled(web: Web) -> None:
    """Whatever stands behind the first request is asked by nobody."""
    at = len(web.gateway.audit())
    inner = request(f"{TOPICS}/smuggled", "DELETE", Authorization=f"Bearer {web.token()}")
    head = f"POST {TOPICS}/app-x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {web.token()}\r\n".encode()
    framings = (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\nX: y\r\n\r\n",
    )
    for framing in framings:
        said = web.say(head + framing + inner, "http/1.1")
        assert said.startswith(b"HTTP/1.1 400 "), said
        assert said.count(b"HTTP/1.1") == 1
    assert not [line for line in web.gateway.audit()[at:] if "smuggled" in json.dumps(line)]


def test_rapid_resets_end_their_connection_alone(web: Web) -> None:
    """CVE-2023-44487."""
    at = len(web.gateway.audit())
    client = Http2Client()
    data = client.out()
    for number in range(RESETS_FREE_MAX + 5):
        data += client.ask(2 * number + 1, "/lookup/v2/topic/persistent/public/default/app-a")
        client.h2.reset_stream(2 * number + 1)
        data += client.out()
    client.take(web.say(data, "h2"))
    assert client.gone is not None
    web.gateway.wait_audit(event="closed", after=at)
    status, _ = web.curl(f"/lookup/v2/topic/persistent/public/default/{unique('app')}", http="--http2")
    assert status == 200


def test_slow_headers_and_slow_bodies_end(web: Web) -> None:
    begun = time.monotonic()
    assert web.say(b"GET /admin", "http/1.1") == b""
    told = {"Authorization": f"Bearer {web.token()}", "Content-Length": "10", "Content-Type": "application/json"}
    said = web.say(request(f"{TOPICS}/app-slow/partitions", "PUT", **told) + b"1", "http/1.1")
    assert said.startswith(b"HTTP/1.1 408 "), said
    assert time.monotonic() - begun >= 2


def test_no_credential_leaves_before_the_broker_is_known(broker: PulsarBroker, tmp_path: Path) -> None:
    """CVE-2022-33681 to 33683: a web service whose certificate is of no CA, or of another name, is told nothing. And
    /readyz says so."""
    for changed in ({"ca": "other"}, {"server_name": "other.test"}):
        gateway = gateway_for(tmp_path / next(iter(changed)), broker, policy=POLICY)
        port = add_web(gateway, broker)
        tls = gateway.config["backends"][0]["web"]["tls"]
        tls |= {"ca": gateway.ca_file} if "ca" in changed else changed
        gateway.start(ready=False)
        try:
            until(partial(names, gateway, "upstream-certificate"))
            assert names(gateway, "its web service was not reached yet")
            status, _ = Web(gateway, broker, port).curl("/lookup/v2/topic/persistent/public/default/app-a")
            assert status == 502
        finally:
            gateway.stop()


def names(gateway: GatewayProcess, words: str) -> bool:
    """Whether /readyz does, once it answers."""
    return words in gateway.readyz()[1]

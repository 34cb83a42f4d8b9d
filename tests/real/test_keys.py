"""Keys from a real https endpoint while clients come: rotation, floods of unknown keys, an endpoint that fails."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_ca
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, until
from tests.real.wire import RawClient
from tests.tokens import TokenIssuer

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: tokens are the gateway's (unset it)")

INTERVAL = 2.0
"""fetch_interval_min of this gateway."""


@dataclass
class Endpoint:
    """A JWKS endpoint over https, with the times it was asked at."""

    issuer: TokenIssuer
    asked: list[float] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    port: int = 0


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    made = Endpoint(TokenIssuer())
    ca = make_ca(tmp_path_factory.mktemp("jwks"))
    certificate, key = ca.server("issuer", hosts=["localhost"])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(time.monotonic())
            body = json.dumps(made.issuer.jwks()).encode() if made.body is None else made.body
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made, ca.path
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(
    kafka_one: KafkaCluster, endpoint: tuple[Endpoint, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    site, ca = endpoint
    made = GatewayProcess(
        tmp_path_factory.mktemp("keys"), {"main": kafka_one.bootstrap}, policy=POLICY, issuer=site.issuer
    )
    (issuer,) = made.config["issuers"]
    issuer["keys"] = {
        "url": f"https://localhost:{site.port}/keys", "ca": str(ca), "fetch_interval_min": f"{INTERVAL:g} s",
        "refresh": "1 h",
    }  # fmt: skip
    with made:
        yield made


def permitted(site: Endpoint) -> bool:
    """Whether the next fetch has not to wait for the end of the interval."""
    return time.monotonic() > site.asked[-1] + INTERVAL


def enter(gateway: GatewayProcess, token: str) -> int:
    with RawClient(gateway.port(), gateway.ca_file, timeout=90) as raw:
        try:
            code, lifetime = raw.authenticate(token)
        except OSError:
            return -1
        return 0 if code == 0 and lifetime > 0 else 58


def test_a_new_key_is_fetched_once_for_all_who_wait(gateway: GatewayProcess, endpoint: tuple[Endpoint, Path]) -> None:
    """Sixty clients come with a key that was made a moment ago, others with the old one all the while."""
    site, _ = endpoint
    old = gateway.issuer.token("svc-old", groups=["app"])
    assert enter(gateway, old) == 0
    until(lambda: permitted(site), what="another fetch may come")
    asked = len(site.asked)
    gateway.issuer.rotate()
    tokens = [gateway.issuer.token(f"svc-{number}", groups=["app"]) for number in range(60)]
    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(lambda token: enter(gateway, token), tokens)) == [0] * 60
    assert len(site.asked) == asked + 1


def test_tokens_of_unknown_keys_do_not_flood_the_issuer(
    gateway: GatewayProcess, endpoint: tuple[Endpoint, Path]
) -> None:
    """Eight seconds of forged key ids on many connections: one fetch per interval, and good clients come in."""
    site, _ = endpoint
    asked, began = len(site.asked), time.monotonic()
    forged = gateway.issuer.token("svc", headers={"kid": "nobody's"})
    good = gateway.issuer.token("svc-good", groups=["app"])

    def flood(_: int) -> list[int]:
        codes = []
        while time.monotonic() - began < 8:
            codes.append(enter(gateway, forged))
        return codes

    with ThreadPoolExecutor(9) as pool:
        floods = [pool.submit(flood, number) for number in range(8)]
        entered = [enter(gateway, good)]
        while not all(each.done() for each in floods):
            entered.append(enter(gateway, good))
        codes = [code for each in floods for code in each.result()]
    assert codes
    assert 0 not in codes
    assert set(entered) == {0}
    assert len(entered) > 1, "between two fetches, too"
    took = time.monotonic() - began
    assert len(site.asked) - asked <= took / INTERVAL + 1


def noted(gateway: GatewayProcess) -> bool:
    status, said = gateway.admin("/readyz")
    assert status == 200
    return "note: issuer test: the last good keys are kept" in said


@pytest.mark.parametrize("how", ["status", "garbage"])
def test_the_last_good_keys_are_kept_when_the_endpoint_fails(
    gateway: GatewayProcess, endpoint: tuple[Endpoint, Path], how: str
) -> None:
    site, _ = endpoint
    until(lambda: permitted(site), what="another fetch may come")
    at, asked = len(gateway.audit()), len(site.asked)
    good = gateway.issuer.token("svc-good", groups=["app"])
    site.status, site.body = (500, None) if how == "status" else (200, b"<html>not keys</html>")
    try:
        forged = gateway.issuer.token("svc", headers={"kid": f"unknown-{how}"})
        assert enter(gateway, forged) != 0
        until(lambda: len(site.asked) > asked, what="a fetch")
        line = gateway.wait_audit(lambda line: line["result"] != "loaded", event="keys", after=at)
        assert line["issuer"] == "test"
        assert enter(gateway, good) == 0
        until(lambda: noted(gateway), what="a note, and nothing worse")
    finally:
        site.status, site.body = 200, None

"""A Pulsar backend that is configured anew under a running gateway, with one process and with two."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.pulsar import commands
from gateway.pulsar.commands import Command
from gateway.pulsar.flags import VERSION
from tests.integration.test_reload import Change, change
from tests.integration.test_run import until
from tests.real.gateway import GatewayProcess
from tests.real.ports import free_ports

POLICY = """\
version: 1
roles:
  app:
    - {allow: [produce], pulsar: {topic: ["persistent://public/default/app-*"]}}
bindings:
  - {roles: [app], to: {issuer: test, sub: app}}
limits:
  - {to: any, produce: 1 MiB/s, consume: 1 MiB/s, requests: 1000/s, connections: 50}
end: true
"""


def command(read: Callable[[int], bytes]) -> Command | None:
    """The next command, None at the end."""
    head = read(4)
    return commands.decode(memoryview(read(struct.unpack(">I", head)[0]))[4:]) if len(head) == 4 else None


class Broker(socketserver.ThreadingTCPServer):
    """Takes everybody who greets it, and remembers with what token."""

    daemon_threads = True

    def __init__(self) -> None:
        heard = self.heard = list[bytes]()

        class One(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (said := command(self.rfile.read)) is not None:
                    if said.name == "connect":
                        heard.append(bytes(said.body.auth_data))
                        self.wfile.write(commands.framed("connected", server_version="fake", protocol_version=VERSION))

        super().__init__(("127.0.0.1", 0), One)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    made = [Broker(), Broker()]
    yield made
    for each in made:
        each.shutdown()
        each.server_close()


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def gateway(request: pytest.FixtureRequest, brokers: list[Broker], tmp_path: Path) -> Iterator[GatewayProcess]:
    limits = {"shutdown_timeout": "3 s"}
    made = GatewayProcess(tmp_path, {"main": brokers[0].address}, policy=POLICY, limits=limits, workers=request.param)
    (listener,), (backend,) = made.config["listeners"], made.config["backends"]
    for name in ("broker_ports", "advertised"):
        del listener[name]
    listener["protocol"] = backend["system"] = "pulsar"
    backend["account"] = account(tmp_path, "first")
    with made:
        yield made


def account(folder: Path, name: str) -> dict[str, Any]:
    secret = folder / f"{name}.token"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text(f"{name}-own-token")
    return {"oauth": {"token_file": str(secret)}, "over_plaintext": True}


def client(gateway: GatewayProcess) -> ssl.SSLSocket:
    """One that is logged in."""
    plain = socket.create_connection(("127.0.0.1", gateway.port()), timeout=60)
    tls = ssl.create_default_context(cafile=gateway.ca_file).wrap_socket(plain, server_hostname="localhost")
    token = gateway.issuer.token("app").encode()
    tls.sendall(
        commands.framed(
            "connect", client_version="test", auth_method_name="token", auth_data=token, protocol_version=VERSION
        )
    )
    assert received(tls) == "connected"
    return tls


def received(sock: ssl.SSLSocket) -> str:
    """The name of the next command."""
    with sock.makefile("rb") as file:
        found = command(file.read)
    assert found is not None
    return found.name


def of_backend(**more: Any) -> Change:
    return lambda config: config["backends"][0].update(more)


def test_other_brokers_are_gone_to_and_connections_go_on(gateway: GatewayProcess, brokers: list[Broker]) -> None:
    with client(gateway) as before:
        line = change(gateway, of_backend(bootstrap=[brokers[1].address], request_timeout="9 s"))
        assert (line["event"], line["waiting"], line["leaving"]) == ("config-revision", [], 0)
        until(lambda: bool(brokers[1].heard))
        count = len(brokers[1].heard)
        with client(gateway):
            assert len(brokers[1].heard) > count
        before.sendall(commands.framed("ping"))
        assert received(before) == "pong"


def test_brokers_that_are_not_there_refuse_it(gateway: GatewayProcess) -> None:
    (port,) = free_ports(1)
    line = change(gateway, of_backend(bootstrap=[f"127.0.0.1:{port}"]))
    assert line["event"] == "config-refused"
    assert "backends[0]" in line["mistakes"][0]
    with client(gateway):
        pass


def test_another_account_is_shown_and_clients_come_back_under_it(
    gateway: GatewayProcess, brokers: list[Broker], tmp_path: Path
) -> None:
    at = len(gateway.audit())
    with client(gateway) as before:
        line = change(gateway, of_backend(account=account(tmp_path, "second")))
        assert (line["event"], line["leaving"]) == ("config-revision", 1)
        gateway.wait_audit(event="closed", reason="backend-account-changed", after=at)
        assert before.recv(1000) == b""
    brokers[0].heard.clear()
    with client(gateway):
        assert brokers[0].heard[-1] == b"second-own-token"


def test_clients_that_show_their_own_tokens_from_then_on_come_back(
    gateway: GatewayProcess, brokers: list[Broker]
) -> None:
    def own(config: dict[str, Any]) -> None:
        backend = config["backends"][0]
        del backend["account"]
        backend["clients_as"] = "own-token"

    at = len(gateway.audit())
    with client(gateway) as before:
        line = change(gateway, own)
        assert line["event"] == "config-revision", json.dumps(line)
        gateway.wait_audit(event="closed", reason="backend-account-changed", after=at)
        assert before.recv(1000) == b""
    brokers[0].heard.clear()
    with client(gateway):
        assert brokers[0].heard[-1].count(b".") == 2


class WebService(http.server.ThreadingHTTPServer):
    """Says that it is ready, to whoever asks."""

    def __init__(self, port: int) -> None:
        class One(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", port), One)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


def missing(gateway: GatewayProcess) -> str:
    """What /readyz names."""
    return gateway.admin("/readyz")[1]


def test_a_web_service_that_is_down_is_named_by_readyz(gateway: GatewayProcess) -> None:
    port, dead, listened = free_ports(3)
    plain = {"insecure_plaintext": True}

    def with_web(config: dict[str, Any]) -> None:
        config["backends"][0]["web"] = {"addresses": [f"127.0.0.1:{port}"], **plain}
        front = {**config["listeners"][0], "name": "web", "protocol": "pulsar-http", "port": listened}
        config["listeners"].append(front)

    assert change(gateway, with_web)["event"] == "config-revision"
    words = "backend main: its web service was not reached yet (web service: upstream-unreachable"
    until(lambda: words in missing(gateway))
    with client(gateway):
        pass
    with WebService(port) as service:
        until(lambda: gateway.admin("/readyz")[0] == 200)
        line = change(gateway, of_backend(web={"addresses": [f"127.0.0.1:{dead}"], **plain}))
        assert line["event"] == "config-refused", "it would be reached no more"
        assert f"127.0.0.1:{dead}" in line["mistakes"][0]
        service.shutdown()

"""Health checks as balancers really make them: answered, summed apart from what is refused, and never at the broker."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.ops.demo.cluster import EmbeddedCluster
from loadtest.nginx import stream_module
from tests.real.gateway import GatewayProcess
from tests.real.missing import Missing
from tests.real.ports import free_ports
from tests.real.site import POLICY, until

pytestmark = pytest.mark.real
PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders"])
    yield made
    made.stop()


@pytest.fixture
def door(cluster: EmbeddedCluster, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One listener for clients, and one behind a balancer that speaks the PROXY protocol."""
    bootstrap = ",".join(cluster.bootstrap)
    made = GatewayProcess(tmp_path, {"main": bootstrap, "behind": bootstrap}, policy=POLICY)
    made.config["listeners"][1]["proxy_protocol"] = {"from": ["127.0.0.0/8"], "required": True}
    with made:
        yield made


@contextmanager
def running(program: str, how: str, *arguments: str) -> Iterator[None]:
    found = shutil.which(program, path=PLACES)
    if found is None:
        raise Missing(program, how)
    process = subprocess.Popen(
        [found, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def told(path: Path, command: str) -> str:
    """What HAProxy answers; nothing while it does not run yet."""
    data = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(f"{command}\n".encode())
        while piece := sock.recv(65536):
            data += piece
    return data.decode()


def checked(path: Path) -> dict[str, tuple[str, str]]:
    """Of each server: its status, and its last check, with a star before it while another is under way."""
    text = told(path, "show stat")
    if not text:
        return {}
    head, *lines = text.removeprefix("# ").splitlines()
    rows = [dict(zip(head.split(","), line.split(","), strict=False)) for line in lines if line]
    return {row["svname"]: (row["status"], row["check_status"]) for row in rows if row["svname"] != "BACKEND"}


def states(path: Path) -> dict[str, tuple[str, str]]:
    return {name: (status, check.removeprefix("* ")) for name, (status, check) in checked(path).items()}


def rest(path: Path) -> None:
    """Let the checks come to their end: one that is broken off in its handshake is a client that gave up."""
    for name in checked(path):
        told(path, f"disable health gateway/{name}")
    until(lambda: not any(check.startswith("*") for _, check in checked(path).values()), 60, "no check under way")


def nothing_else(door: GatewayProcess) -> None:
    """No refusal, no session's line, no octet to a broker for a client."""
    assert [line for line in door.audit() if line["event"] in ("refused", "connected", "closed")] == []
    metrics = door.admin("/metrics")[1].splitlines()
    for name in ("gateway_upstream_sent_bytes_total", "gateway_connections_refused_total", "gateway_connections_shed"):
        assert [line for line in metrics if line.startswith(name) and not line.endswith(" 0.0")] == []


def test_haproxys_checks(door: GatewayProcess, tmp_path: Path) -> None:
    main, behind = door.port(), door.port("behind")
    secure = f"check-ssl verify required ca-file {door.ca_file} check-sni localhost verifyhost localhost"
    servers = {
        "tcp": f"127.0.0.1:{main} check",
        "tls": f"127.0.0.1:{main} check {secure}",
        "proxy": f"127.0.0.1:{behind} check send-proxy",
        "proxy-v2": f"127.0.0.1:{behind} check send-proxy-v2",
        "proxy-tls": f"127.0.0.1:{behind} check send-proxy-v2 {secure}",
    }
    statistics = tmp_path / "haproxy.sock"
    lines = ["global", f"  stats socket {statistics} level admin", "defaults", "  mode tcp", "  timeout connect 60s",
             "  timeout client 60s", "  timeout server 60s", "  timeout check 60s", "backend gateway"]  # fmt: skip
    # the interval is also the time that HAProxy gives to TCP's and TLS's handshakes
    lines += [f"  server {name} {rest} inter 3s fall 1 rise 1" for name, rest in servers.items()]
    config = tmp_path / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n")
    with running("haproxy", "install it (Debian: `apt-get install haproxy`)", "-db", "-f", str(config)):
        expected = {name: ("UP", "L6OK" if "ssl" in rest else "L4OK") for name, rest in servers.items()}
        until(lambda: states(statistics) == expected, 60, "every server up")
        until(lambda: probes(door) >= 15, 60, "some checks")
        assert states(statistics) == expected
        rest(statistics)
    wanted = {("main-listener", "tls-probe"), ("behind-listener", "tcp-probe"), ("behind-listener", "tls-probe")}
    seldom = {("main-listener", "tcp-probe")}  # resets within TCP's handshake, which the kernel alone may see
    until(lambda: wanted <= kinds_told(door) <= wanted | seldom, what="a line for every kind")
    assert len(lines_told(door)) < probes(door) / 2, "a sum, however many they are"
    nothing_else(door)


def lines_told(door: GatewayProcess) -> list[dict[str, Any]]:
    return [line for line in door.audit() if line["event"] == "probed"]


def kinds_told(door: GatewayProcess) -> set[tuple[str, str]]:
    return {(line["listener"], line["reason"]) for line in lines_told(door)}


def probes(door: GatewayProcess) -> float:
    lines = door.admin("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("gateway_connections_probes_total{"))


def test_connections_that_nginx_opens_and_closes(door: GatewayProcess, tmp_path: Path) -> None:
    """nginx's stream module has no checks of its own: what a check of nginx's port makes of the gateway's."""
    plain, proxied = free_ports(2)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"{stream_module()}\ndaemon off;\nmaster_process off;\npid {tmp_path}/nginx.pid;\n"
        f"error_log {tmp_path}/nginx.log;\nevents {{}}\nstream {{\n"
        f"  server {{ listen 127.0.0.1:{plain}; proxy_pass 127.0.0.1:{door.port()}; }}\n"
        f"  server {{ listen 127.0.0.1:{proxied}; proxy_protocol on; proxy_pass 127.0.0.1:{door.port('behind')}; }}\n"
        "}\n"
    )
    how = "on Debian: apt-get install nginx libnginx-mod-stream"
    with running("nginx", how, "-p", str(tmp_path), "-c", str(config)):
        for port in (plain, proxied):
            until(lambda port=port: opened(port), 60, "nginx")  # type: ignore[misc]
            for _ in range(4):
                assert opened(port)
        until(lambda: probes(door) >= 8, 60, "the connections")
    until(lambda: {reason for _, reason in kinds_told(door)} == {"tcp-probe"}, what="a line of them")
    nothing_else(door)


def opened(port: int) -> bool:
    """As Kubernetes' tcpSocket probe."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n", "http-on-tls-port"),
        (b"OPTIONS * HTTP/1.0\r\n\r\n", "http-on-tls-port"),
        (b"\0\0\0\x1b\0\x12\0\0\0\0\0\1\0\4test" + bytes(10), "plaintext-kafka-on-tls-port"),
    ],
    ids=["http", "options", "kafka"],
)
def test_what_does_not_belong_on_a_tls_port_is_closed_and_named(door: GatewayProcess, sent: bytes, reason: str) -> None:
    with socket.create_connection(("127.0.0.1", door.port()), timeout=60) as sock:
        sock.sendall(sent)
        with suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    door.wait_audit(event="refused", reason=reason)

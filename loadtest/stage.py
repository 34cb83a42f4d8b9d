"""Everything that a run needs, brought up on loopback: a real broker, its topics, and each peer when it is first asked.

Each proxy that moves bytes has a listener of its own at the broker, advertised at the proxy's port; the gateway tells
its own addresses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest import client, gateways, haproxy, kroxylicious, nginx
from loadtest.gateways import TOKEN_SECONDS
from loadtest.processes import CIPHER
from loadtest.rows import CONSUME_12, METADATA_DENIED, METADATA_TOPICS, TOPICS
from loadtest.work import Door, Work
from tests.certificates import Ca, make_ca
from tests.real.kafka import KafkaCluster
from tests.real.ports import free_ports

NODE = 1
SCRAPE_SECONDS = 1.0
LEADER_SECONDS_MAX = 60.0
PROXIES = ("nginx", "haproxy")
"""Those that hide nothing: the broker has a listener for each."""


class Stage:
    """The broker is up while it is entered. `door` brings up a peer once and keeps it."""

    def __init__(self, folder: Path, *, stored: int, fast_start: bool) -> None:
        """`stored`: bytes in the topic that is consumed. `fast_start`: for runs that judge nothing."""
        self._folder = folder
        self._stored = stored
        self._fast_start = fast_start
        self._stack = ExitStack()
        self._doors: dict[tuple[str, bool], Door] = {}
        self._ports = {name: free_ports(1)[0] for name in (*PROXIES, "nginx-tls")}
        self._ca: Ca = make_ca(folder / "certificates")
        self._cluster = KafkaCluster(
            folder / "kafka", heap_mb=1024, fast_start=fast_start,
            extra={_listener(name): {NODE: port} for name, port in self._ports.items()} | {"OWNTLS": {}},
            properties=_tls_listeners(folder, self._ca) | {
                "log.retention.check.interval.ms": "2000",
                "log.segment.delete.delay.ms": "1000",
            },
        )  # fmt: skip

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            stack.enter_context(self._cluster)
            self._topics()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def door(self, peer: str, *, tls_behind: bool = False) -> Door:
        """The way through a peer. Raises Missing if it is not to be had here."""
        key = (peer, tls_behind)
        if key not in self._doors:
            self._doors[key] = self._stack.enter_context(self.opened(peer, tls_behind=tls_behind))
        return self._doors[key]

    @contextmanager
    def opened(self, peer: str, *, tls_behind: bool = False) -> Iterator[Door]:
        """A peer that has seen no load yet, for as long as this is entered; not one that `door` keeps."""
        if peer == "direct":
            yield Door(self._cluster.port(NODE))
        elif peer in gateways.STEPS:
            with self._gateway(peer, tls_behind) as door:
                yield door
        elif peer == "kroxylicious":
            with self._kroxylicious() as door:
                yield door
        else:
            with self._proxy(peer, tls_behind) as door:
                yield door

    @contextmanager
    def _proxy(self, peer: str, tls_behind: bool) -> Iterator[Door]:
        name = f"{peer}-tls" if tls_behind else peer
        known = (peer, tls_behind) in self._doors
        port = free_ports(1)[0] if known else self._ports[name]
        handshakes = free_ports(1)[0]
        upstream = f"127.0.0.1:{self._cluster.port(NODE, _listener(name))}"
        certificate = self._ca.server(peer)
        folder = self._folder / f"{name}-{port}"
        if peer == "nginx":
            ca = str(self._ca.path) if tls_behind else ""
            daemon = nginx.nginx(folder, port, handshakes, upstream, certificate, ca)
        else:
            daemon = haproxy.haproxy(folder, port, handshakes, upstream, certificate)
        with daemon:
            yield Door(port, daemon.pid, str(self._ca.path), handshake_port=handshakes)

    @contextmanager
    def _kroxylicious(self) -> Iterator[Door]:
        """It tells its own addresses, so it needs no listener at the broker."""
        port = free_ports(2 + kroxylicious.NODE_IDS[1], consecutive=True)[0]
        folder = self._folder / f"kroxylicious-{port}"
        certificate = self._ca.server("kroxylicious")
        with kroxylicious.kroxylicious(
            folder, port, self._cluster.bootstrap, certificate, fast_start=self._fast_start
        ) as made:
            yield Door(port, made.pid, str(self._ca.path), handshake_port=port)

    @contextmanager
    def _gateway(self, peer: str, tls_behind: bool) -> Iterator[Door]:
        on = gateways.features(peer)
        upstream_ca = str(self._ca.path) if tls_behind else ""
        bootstrap = f"localhost:{self._cluster.port(NODE, 'OWNTLS')}" if tls_behind else self._cluster.bootstrap
        folder = self._folder / f"{peer}-{free_ports(1)[0]}"
        with gateways.gateway(folder, bootstrap, on, upstream_ca=upstream_ca) as process:
            token = process.issuer.token("load", lifetime=TOKEN_SECONDS)
            door = Door(process.port(), process.pid, process.ca_file, token, time.time() + TOKEN_SECONDS)
            with scraped(process.admin_port) if on.scraped else nullcontext():
                yield replace(door, handshake_port=process.port())

    def _topics(self) -> None:
        """Those produced to keep little, the one that is consumed is filled, those of the metadata row are empty."""
        admin = AdminClient({"bootstrap.servers": self._cluster.bootstrap})
        small = {"retention.bytes": str(64 << 20), "segment.bytes": str(32 << 20)}
        names = [f"load.meta-{index:03}" for index in range(METADATA_TOPICS - len(TOPICS))]
        names += [f"elsewhere-{index}" for index in range(METADATA_DENIED)]
        wanted = [
            NewTopic(name, num_partitions=count, replication_factor=1, config={} if name == CONSUME_12 else small)
            for name, count in TOPICS.items()
        ] + [NewTopic(name, num_partitions=1, replication_factor=1) for name in names]
        for made in admin.create_topics(wanted, operation_timeout=30).values():
            made.result()
        _wait_for_leaders(admin, {topic.topic for topic in wanted})
        direct = Door(self._cluster.port(NODE))
        client.run(
            Work("produce", direct, 60.0, 0.0, CONSUME_12, TOPICS[CONSUME_12], bytes_max=self._stored)
        )  # fmt: skip


def _wait_for_leaders(admin: AdminClient, topics: set[str]) -> None:
    """Until every partition of these topics has one. Raises RuntimeError."""
    deadline = time.monotonic() + LEADER_SECONDS_MAX
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=20).topics
        partitions = [one for name in topics & known.keys() for one in known[name].partitions.values()]
        if topics <= known.keys() and all(one.leader >= 0 and one.error is None for one in partitions):
            return
        time.sleep(0.1)
    raise RuntimeError("partitions without a leader")


def _listener(name: str) -> str:
    return name.replace("-", "").upper()


def _tls_listeners(folder: Path, ca: Ca) -> dict[str, str]:
    """Two listeners with TLS: one behind nginx, one for the gateway, which hides its address."""
    certificate, key = ca.server("broker")
    store = folder / "broker.pem"
    store.touch(mode=0o600)
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    plain = [_listener(name) for name in PROXIES]
    protocols = [f"{name}:PLAINTEXT" for name in ("PLAIN", *plain, "CONTROLLER")] + ["NGINXTLS:SSL", "OWNTLS:SSL"]
    return {
        "listener.security.protocol.map": ",".join(protocols),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.enabled.protocols": "TLSv1.3",
        "ssl.cipher.suites": CIPHER,
    }


@contextmanager
def scraped(port: int, path: str = "/metrics") -> Iterator[None]:
    """Metrics of 127.0.0.1 read each second over one connection, as a monitoring system would (which asks less often).
    Raises OSError if they cannot be had at the beginning, or were not had most of the time."""
    ended = threading.Event()
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    had: list[bool] = []

    def scrape() -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        if not answer.read() or answer.status != HTTPStatus.OK:
            raise OSError(f"{path}: {answer.status}")

    def again() -> None:
        while not ended.wait(SCRAPE_SECONDS):
            try:
                scrape()
                had.append(True)
            except (OSError, HTTPException):
                had.append(False)
                connection.close()  # the next one connects anew

    thread = threading.Thread(target=again, daemon=True)
    with closing(connection):
        scrape()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
    if sum(had) < len(had) / 2:
        raise OSError(f"{path}: {len(had) - sum(had)} of {len(had)} scrapes failed")

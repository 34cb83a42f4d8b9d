"""A real Apache Kafka cluster (KRaft) of one broker or several, for tests and load tests.

    with KafkaCluster(folder, nodes=3) as cluster:
        cluster.bootstrap            # host:port,host:port,host:port, plaintext
        cluster.kill(2); cluster.restart(2); cluster.join(4)

Every broker has a plaintext listener PLAIN; `extra` adds listeners that are advertised at another port (one per proxy
under test); `users` adds a SASL_PLAINTEXT listener SASL with these PLAIN users, and `authorizer` Kafka's own
StandardAuthorizer with the plaintext listener's clients as super users. Node 1 is the controller, or with
`controllers=3` the first three vote, so that any of them may fall out.
"""

from __future__ import annotations

import base64
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.real.format import NotFormatted, format_folder
from tests.real.jars import QUICK_START, java, kafka_libs
from tests.real.names import without_names
from tests.real.ports import free_ports

START_SECONDS_MAX = 180.0
STOP_SECONDS_MAX = 60.0
HEARD_SECONDS_MAX = 60.0
HOST = "127.0.0.1"

Extra = Mapping[str, Mapping[int, int]]
"""Listener name -> node id -> the port it is advertised at (on localhost)."""

_LOG4J = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n%throwable
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


class KafkaFailed(Exception):
    """A broker did not start; the message ends with its log's last lines."""


class KafkaCluster:
    """Real brokers in one folder, each a process of its own. Not safe for use by several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        controllers: int = 1,
        heap_mb: int = 256,
        extra: Extra | None = None,
        users: Mapping[str, str] | None = None,
        authorizer: bool = False,
        properties: Mapping[str, str] | None = None,
        fast_start: bool = True,
        flags: Sequence[str] = (),
    ) -> None:
        """`properties` override server.properties, `flags` go to the JVM; `fast_start=False` leaves its compilers on,
        for load tests."""
        self.folder = folder
        self.cluster_id = _kafka_uuid()
        self._heap_mb = heap_mb
        self._extra = {name: dict(ports) for name, ports in (extra or {}).items()}
        self._users = dict(users or {})
        self._authorizer = authorizer
        self._properties = dict(properties or {})
        self._fast_start = fast_start
        self._flags = tuple(flags)
        self._java = java()
        self._libs = kafka_libs()
        self._nodes = tuple(range(1, nodes + 1))
        self._controller_ports = dict(zip(self._nodes, free_ports(controllers), strict=False))
        self._ports: dict[int, dict[str, int]] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    # --- addresses

    @property
    def nodes(self) -> tuple[int, ...]:
        """Ids of the brokers that belong to the cluster, running or not."""
        return self._nodes

    @property
    def bootstrap(self) -> str:
        """The plaintext listeners, as a client's bootstrap servers."""
        return self.bootstrap_of("PLAIN")

    @property
    def sasl_bootstrap(self) -> str:
        """The SASL_PLAINTEXT listeners; only with `users`."""
        return self.bootstrap_of("SASL")

    def bootstrap_of(self, listener: str) -> str:
        return ",".join(f"{HOST}:{self.port(node, listener)}" for node in self._nodes)

    def port(self, node: int, listener: str = "PLAIN") -> int:
        """The port a broker binds for a listener, the same after a restart."""
        return self._ports[node][listener]

    def log(self, node: int) -> str:
        return (self.folder / f"node-{node}.log").read_text(errors="replace")

    # --- life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Format, start every broker, and wait until each answers and sees the others. Raises KafkaFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(_LOG4J)
        for node in self._nodes:
            self._prepare(node)
            self._format(node)
        try:
            for node in self._nodes:
                self._spawn(node)
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every broker: SIGTERM to all, then SIGKILL to those that stay."""
        running = list(self._processes.items())
        self._processes.clear()
        if len(self._controller_ports) > 1:  # without a majority of its controllers a broker's farewell never ends
            for _, process in running:
                process.kill()
        for node, process in running:
            if node != 1:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for node, process in sorted(running, reverse=True):  # the controller last, or the others hang in their farewell
            if node == 1:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()
        self._logs.clear()

    def kill(self, node: int) -> None:
        """SIGKILL, as a machine that falls out."""
        process = self._processes.pop(node)
        process.kill()
        process.wait()

    def stop_node(self, node: int) -> None:
        """SIGTERM: a controlled shutdown, leaders move away first."""
        process = self._processes.pop(node)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, node: int, *, wait: bool = True) -> None:
        """Start a broker that was killed or stopped, at its old ports with its old data, and wait for it."""
        if node not in self._processes:
            self._spawn(node)
        if wait:
            self.wait_ready()

    def join(self, node: int, advertised: Mapping[str, int] | None = None) -> None:
        """A new broker joins; `advertised` gives its port for each extra listener."""
        for name, port in (advertised or {}).items():
            self._extra[name][node] = port
        self._prepare(node)
        self._format(node)
        self._nodes = (*self._nodes, node)
        self._spawn(node)
        self.wait_ready()

    def pid(self, node: int) -> int:
        return self._processes[node].pid

    def wait_ready(self) -> None:
        """Until every running broker answers and tells of all running brokers. Raises KafkaFailed."""
        deadline = time.monotonic() + START_SECONDS_MAX
        running = sorted(self._processes)
        for node in running:
            while not _sees(self.port(node), len(running)):
                if self._processes[node].poll() is not None:
                    raise KafkaFailed(f"broker {node} ended with {self._processes[node].returncode}{self._tail(node)}")
                if time.monotonic() > deadline:
                    raise KafkaFailed(f"broker {node} is not ready after {START_SECONDS_MAX} s{self._tail(node)}")
                time.sleep(0.05)

    def wait_topic(self, name: str) -> None:
        """Until every running broker has heard of a new topic and all of its leaders lead, which takes each of them a
        moment after it was made: before that, a broker that is asked says that there is none, or that it is not the
        leader. Raises KafkaFailed."""
        deadline = time.monotonic() + HEARD_SECONDS_MAX
        for node in sorted(self._processes):
            leaders = _leaders(self.port(node), name)
            while not (leaders and all(_leads(self.port(each), name, leaders[each]) for each in leaders)):
                if time.monotonic() > deadline:
                    raise KafkaFailed(f"broker {node} knows no leaders of {name} after {HEARD_SECONDS_MAX} s")
                time.sleep(0.02)
                leaders = _leaders(self.port(node), name)

    def move_leaders(self, orders: Mapping[str, Mapping[int, Sequence[int]]]) -> None:
        """Each partition's replicas in this order (topic -> partition -> nodes), and the first of them elected where
        it is in sync: AlterPartitionReassignments v0, ElectLeaders v2. Raises KafkaFailed, OSError."""

        def compact(items: Sequence[bytes]) -> bytes:
            return bytes([len(items) + 1]) + b"".join(items)  # fewer than 127 of everything here

        def partition(number: int, replicas: Sequence[int]) -> bytes:
            return struct.pack(">i", number) + compact([struct.pack(">i", each) for each in replicas]) + b"\0"

        topics = [
            bytes([len(name) + 1]) + name.encode() + compact([partition(*each) for each in wanted.items()]) + b"\0"
            for name, wanted in orders.items()
        ]
        timeout = struct.pack(">i", 10_000)
        preferred_of_all = b"\0\0"
        for key, version, body in ((45, 0, timeout + compact(topics)), (43, 2, preferred_of_all + timeout)):
            header = struct.pack(">hhih", key, version, 7, -1) + b"\0"
            answer = self._ask_any(header + body + b"\0")
            (code,) = struct.unpack_from(">h", answer, 9)
            if code:
                raise KafkaFailed(f"API {key} was answered with error {code}")

    # --- how

    def _ask_any(self, request: bytes) -> bytes:
        """Ask the first broker that takes a connection. Raises OSError if none does."""
        for node in sorted(self._processes):
            try:
                return _asked(self.port(node), request)
            except ConnectionError:  # it is starting
                continue
        raise ConnectionError("no broker takes a connection")

    def _tail(self, node: int) -> str:
        return "\n" + "\n".join(self.log(node).splitlines()[-30:])

    def _prepare(self, node: int) -> None:
        names = ["PLAIN", *self._extra, *(["SASL"] if self._users else [])]
        self._ports[node] = dict(zip(names, free_ports(len(names)), strict=True))
        lines = self._server_properties(node) | self._properties
        (self.folder / f"node-{node}.properties").write_text("".join(f"{key}={lines[key]}\n" for key in lines))

    def _server_properties(self, node: int) -> dict[str, str]:
        ports = self._ports[node]
        controller = node in self._controller_ports
        voters = ",".join(f"{each}@{HOST}:{port}" for each, port in self._controller_ports.items())
        replicas = str(min(3, len(self._nodes)))
        binds = [f"{name}://{HOST}:{port}" for name, port in ports.items()]
        told = [f"{name}://{self._advertised(name, node, port)}" for name, port in ports.items()]
        protocols = [f"{name}:{'SASL_PLAINTEXT' if name == 'SASL' else 'PLAINTEXT'}" for name in ports]
        made = {
            "node.id": str(node),
            "process.roles": "broker,controller" if controller else "broker",
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(
                binds + ([f"CONTROLLER://{HOST}:{self._controller_ports[node]}"] if controller else [])
            ),
            "advertised.listeners": ",".join(told),
            "listener.security.protocol.map": ",".join([*protocols, "CONTROLLER:PLAINTEXT"]),
            "inter.broker.listener.name": "PLAIN",
            "log.dirs": str(self.folder / f"data-{node}"),
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "5",
            "default.replication.factor": replicas,
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "6000",
            "broker.heartbeat.interval.ms": "500",
            "log.flush.interval.messages": "9223372036854775807",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "8388608",
        }
        if self._users:
            users = " ".join(f'user_{name}="{password}"' for name, password in self._users.items())
            made |= {
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl.plain.sasl.jaas.config": (
                    f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
                ),
            }
        if self._authorizer:
            made |= {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
            }
        return made

    def _advertised(self, name: str, node: int, port: int) -> str:
        """A proxy's listener is told by name, for its certificate; the others by address, so that none tries ::1."""
        return f"localhost:{self._extra[name].get(node, port)}" if name in self._extra else f"{HOST}:{port}"

    def _format(self, node: int) -> None:
        try:
            format_folder(
                self.folder / f"data-{node}", self._libs, lambda words: self._command(*words),
                self.cluster_id, node, _kafka_uuid(),
            )  # fmt: skip
        except NotFormatted as error:
            raise KafkaFailed(f"format: {error}") from None

    def _spawn(self, node: int) -> None:
        log = open(self.folder / f"node-{node}.log", "ab")  # noqa: SIM115 - lives as long as the process
        self._logs.append(log)
        self._processes[node] = subprocess.Popen(
            self._command("kafka.Kafka", str(self._config(node))),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env=without_names(),
        )  # fmt: skip

    def _command(self, *arguments: str) -> list[str]:
        flags = [*QUICK_START] if self._fast_start else ["-XX:+UseG1GC", "-XX:-UsePerfData"]
        flags += [f"-Xms{self._heap_mb // 2}m", f"-Xmx{self._heap_mb}m"]
        flags += [f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"]
        return [self._java, *flags, *self._flags, "-cp", f"{self._libs}/*", *arguments]

    def _config(self, node: int) -> Path:
        return self.folder / f"node-{node}.properties"


def _kafka_uuid() -> str:
    """A random UUID as Kafka writes it; one that begins with a dash would be taken for an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _asked(port: int, request: bytes) -> bytes:
    """One request of a broker: the answer without its length. Raises OSError."""
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.settimeout(15)
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + struct.unpack_from(">i", answer)[0]:
            chunk = connection.recv(65536)
            if not chunk:
                raise ConnectionError("the broker ended the connection")
            answer += chunk
    return answer[4:]


def _sees(port: int, brokers: int) -> bool:
    """Whether a broker answers Metadata (v1) with at least this many brokers in it."""
    try:
        answer = _asked(port, struct.pack(">hhih", 3, 1, 7, -1) + struct.pack(">i", 0))
    except OSError:
        return False
    return bool(struct.unpack_from(">i", answer, 4)[0] >= brokers)


def _leaders(port: int, topic: str) -> dict[int, list[int]]:
    """The partitions of each leader of a topic, as a broker answers Metadata (v1); none if any is without one."""
    name = struct.pack(">h", len(topic)) + topic.encode()
    try:
        answer = _asked(port, struct.pack(">hhih", 3, 1, 7, -1) + struct.pack(">i", 1) + name)
    except OSError:
        return {}
    found: dict[int, list[int]] = {}
    at = answer.rindex(name) + len(name) + 1  # behind it, whether it is internal
    (count,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(count):
        code, partition, leader, replicas = struct.unpack_from(">hiii", answer, at)
        (in_sync,) = struct.unpack_from(">i", answer, at + 14 + 4 * replicas)
        at += 18 + 4 * (replicas + in_sync)
        if code or leader < 0:
            return {}
        found.setdefault(leader, []).append(partition)
    return found


def _leads(port: int, topic: str, partitions: Sequence[int]) -> bool:
    """Whether a broker answers ListOffsets (v1) for these partitions, as their leader alone does."""
    name = struct.pack(">h", len(topic)) + topic.encode()
    wanted = b"".join(struct.pack(">iq", partition, -1) for partition in partitions)
    body = struct.pack(">ii", -1, 1) + name + struct.pack(">i", len(partitions)) + wanted
    try:
        answer = _asked(port, struct.pack(">hhih", 2, 1, 7, -1) + body)
    except OSError:
        return False
    at = answer.rindex(name) + len(name) + 4
    return not any(struct.unpack_from(">h", answer, at + 22 * number + 4)[0] for number in range(len(partitions)))

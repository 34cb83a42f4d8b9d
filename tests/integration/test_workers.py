"""Several workers as one gateway: one view of policies and keys, one voice at the admin port, and a worker that dies is
mended without anybody noticing but its own clients, who come back.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.settings import Limits
from gateway.ops.demo.cluster import EmbeddedCluster
from gateway.ops.workers.mending import STARTS_MAX
from tests.certificates import make_ca
from tests.integration import test_run
from tests.integration.test_certificate_reload import Mount
from tests.integration.test_run import produce, until
from tests.real.gateway import GatewayProcess, Line
from tests.real.wire import API_VERSIONS, METADATA, RawClient, request

FEW = """\
  - {to: {issuer: test, sub: few}, produce: 10 MiB/s, consume: 10 MiB/s, requests: 1000/s, connections: 5}
  - {to: {issuer: test, sub: flood}, produce: 10 MiB/s, consume: 10 MiB/s, requests: 100/s, connections: 50}
"""
POLICY = test_run.POLICY.replace("limits:\n", "limits:\n" + FEW)
WIDER = test_run.WIDER.replace("limits:\n", "limits:\n" + FEW)
NARROW = POLICY.replace("[orders]", "[nothing]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gateway(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("workers")
    with GatewayProcess(folder, {"main": ",".join(cluster.bootstrap)}, policy=POLICY, workers=2) as made:
        yield made


def status(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.admin("/status")[1])
    return found


def worker_pid(gateway: GatewayProcess, worker: int) -> int:
    return int(status(gateway)["workers"][worker - 1]["pid"])


def serving(gateway: GatewayProcess) -> bool:
    return all(each["serving"] for each in status(gateway)["workers"])


def counted(gateway: GatewayProcess, name: str) -> float:
    """The sum of a metric's samples."""
    families = text_string_to_metric_families(gateway.admin("/metrics")[1])
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def kept_connections(gateway: GatewayProcess, count: int) -> Iterator[Producer]:
    """Producers that stay connected."""
    for _ in range(count):
        producer = Producer(gateway.confluent(gateway.issuer.token("app")))
        producer.list_topics(timeout=60)
        yield producer


def admin_command(gateway: GatewayProcess, *words: str) -> str:
    command = [sys.executable, "-m", "gateway", *words, "--config", str(gateway.config_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def office_pid(gateway: GatewayProcess) -> int:
    """The supervisor's first child."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    workers = {each["pid"] for each in status(gateway)["workers"]}
    (found,) = (int(pid) for pid in children if int(pid) not in workers)
    return found


def shares_of(gateway: GatewayProcess, count: int) -> list[int]:
    """How so many connections fall on the workers."""
    peers = [socket.create_connection(("localhost", gateway.port())) for _ in range(count)]
    until(lambda: sum(each["connections"] for each in status(gateway)["workers"]) >= count)
    found = [each["connections"] for each in status(gateway)["workers"]]
    for peer in peers:
        peer.close()
    until(lambda: sum(each["connections"] for each in status(gateway)["workers"]) == 0)
    return found


def test_both_workers_take_their_share_of_connections(gateway: GatewayProcess) -> None:
    """The system shares out by a hash of addresses and ports: by chance, 200 connections come to 80 to 120 of each in
    996 of 1,000 tries, so one more try is given."""
    tries = [shares_of(gateway, 200) for _ in range(2)]
    assert any(80 <= min(shares) <= max(shares) <= 120 for shares in tries), f"200 connections fell {tries}"


def test_of_four_workers_each_takes_its_share(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """By chance each has 30 to 70 of 200 in 997 of 1,000 tries."""
    with GatewayProcess(tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY, workers=4) as made:
        tries = [shares_of(made, 200) for _ in range(2)]
    assert all(len(shares) == 4 and sum(shares) == 200 for shares in tries)
    assert any(30 <= min(shares) <= max(shares) <= 70 for shares in tries), f"200 connections fell {tries}"


def test_connections_of_the_other_worker_live_on_when_one_is_killed(gateway: GatewayProcess) -> None:
    until(lambda: nobody_connected(gateway))
    at, clients = len(gateway.audit()), in_both_workers(gateway, "app", least=3)
    until(lambda: sum(line["event"] == "authenticated" for line in gateway.audit()[at:]) >= len(clients))
    lines = [line for line in gateway.audit()[at:] if line["event"] == "authenticated"]
    shares = [each["connections"] for each in status(gateway)["workers"]]
    os.kill(worker_pid(gateway, 1), signal.SIGKILL)
    gateway.wait_audit(event="worker", worker=1, state="ended", how="signal SIGKILL", after=at)
    gateway.wait_audit(event="worker", worker=1, state="serves", after=at)
    live = 0
    for client in clients:
        with suppress(OSError, EOFError, AssertionError):
            client.send(request(METADATA, 1, struct.pack(">i", 0)))
            live += len(client.receive()) > 0
        client.close()
    assert live == shares[1] == len(lines) - shares[0]


def test_a_policy_comes_into_force_in_all_workers_or_in_none(gateway: GatewayProcess) -> None:
    producers = list(kept_connections(gateway, 6))
    assert produce(gateway, "payroll") is not None
    gateway.change_policy(WIDER)
    for _ in range(3):
        assert produce(gateway, "payroll") is None
    at = len(gateway.audit())
    gateway.change_policy(WIDER.replace("end: true\n", ""))
    gateway.wait_audit(event="policy-refused", after=at)
    for _ in range(3):
        assert produce(gateway, "payroll") is None
    until(lambda: "note: policy files refused" in gateway.admin("/readyz")[1])
    gateway.change_policy(POLICY)
    until(lambda: gateway.admin("/readyz") == (200, "ready\n"))
    assert len([line for line in gateway.audit() if line["event"] == "policy-refused"]) == 1
    del producers


def test_a_worker_that_is_mended_has_what_is_in_force_whatever_lies_on_the_disk(gateway: GatewayProcess) -> None:
    gateway.change_policy(WIDER)
    gateway.change_policy(NARROW.replace("end: true\n", ""))  # refused: WIDER stays in force
    for worker in (1, 2):
        at, pid = len(gateway.audit()), worker_pid(gateway, worker)
        os.kill(pid, signal.SIGKILL)
        gateway.wait_audit(event="worker", worker=worker, state="ended", how="signal SIGKILL", after=at)
        gateway.wait_audit(event="worker", worker=worker, state="serves", after=at)
        assert worker_pid(gateway, worker) != pid
    for _ in range(3):
        assert produce(gateway, "payroll") is None
    gateway.change_policy(POLICY)
    assert produce(gateway, "payroll") is not None


def test_counters_do_not_go_back_when_a_worker_dies(gateway: GatewayProcess) -> None:
    produce(gateway, "orders")
    before = counted(gateway, "gateway_connections_accepted_total")
    starts = counted(gateway, "gateway_worker_starts_total")
    at = len(gateway.audit())
    os.kill(worker_pid(gateway, 1), signal.SIGKILL)
    lowest = before
    while not any(line.get("state") == "serves" for line in gateway.audit()[at:]):
        lowest = min(lowest, counted(gateway, "gateway_connections_accepted_total"))
    assert lowest >= before > 0
    assert counted(gateway, "gateway_connections_accepted_total") >= before
    until(lambda: counted(gateway, "gateway_worker_starts_total") == starts + 1)


def test_status_close_and_log_level_speak_for_all_workers(gateway: GatewayProcess) -> None:
    producers = list(kept_connections(gateway, 8))

    def of_one_principal() -> bool:
        """Libraries connect to brokers as they like: until nothing is on its way."""
        found = status(gateway)
        by_worker = [each["connections"] for each in found["workers"]]
        known = {each["principal"]: each["connections"] for each in found["connections"]["principals"]}
        return sum(by_worker) == found["connections"]["total"] >= 8 and known == {"jwt:test:app": sum(by_worker)}

    until(of_one_principal)
    said = admin_command(gateway, "close", "--principal", "jwt:test:app")
    assert "connections closed" in said
    assert int(said.split(": ")[1].split()[0]) >= 8
    assert "log level warning (was" in admin_command(gateway, "log-level", "warning")
    assert "log level debug (was warning)" in admin_command(gateway, "log-level", "debug")
    page = admin_command(gateway, "status")
    assert "serves since" in page
    del producers


def in_both_workers(gateway: GatewayProcess, subject: str, least: int = 1) -> list[RawClient]:
    """Connections of a principal, at least so many in each worker."""
    made: list[RawClient] = []
    while True:
        client = RawClient(gateway.port(), gateway.ca_file)
        assert client.authenticate(gateway.issuer.token(subject))[0] == 0
        made.append(client)
        if min(each["connections"] for each in status(gateway)["workers"]) >= least:
            return made


def nobody_connected(gateway: GatewayProcess) -> bool:
    return status(gateway)["connections"]["total"] == 0


def test_a_principals_connections_are_counted_over_all_workers(gateway: GatewayProcess) -> None:
    until(lambda: nobody_connected(gateway))
    clients = []
    for _ in range(5):
        clients.append(RawClient(gateway.port(), gateway.ca_file))
        assert clients[-1].authenticate(gateway.issuer.token("few"))[0] == 0
    for _ in range(6):  # in whichever worker
        with RawClient(gateway.port(), gateway.ca_file) as refused, suppress(OSError):
            assert refused.authenticate(gateway.issuer.token("few"))[0] != 0
    for client in clients:
        client.close()
    until(lambda: nobody_connected(gateway))


def test_a_worker_that_dies_gives_its_connections_back(gateway: GatewayProcess) -> None:
    clients = []
    for _ in range(5):
        clients.append(RawClient(gateway.port(), gateway.ca_file))
        assert clients[-1].authenticate(gateway.issuer.token("few"))[0] == 0
    for worker in (1, 2):
        at = len(gateway.audit())
        os.kill(worker_pid(gateway, worker), signal.SIGKILL)
        gateway.wait_audit(event="worker", worker=worker, state="serves", after=at)
    until(lambda: nobody_connected(gateway))
    for client in clients:
        client.close()
    with RawClient(gateway.port(), gateway.ca_file) as again:
        assert again.authenticate(gateway.issuer.token("few"))[0] == 0


def test_failed_logins_are_counted_over_all_workers(gateway: GatewayProcess) -> None:
    """Each refusal is told later than the one before, whichever worker it falls to."""
    at = len(gateway.audit())

    def refused() -> list[Line]:
        return [line for line in gateway.audit()[at:] if line["event"] == "refused" and "told_in" in line]

    while len({line["connection"].split("-")[0] for line in refused()}) < 2 or len(refused()) < 4:
        with RawClient(gateway.port(), gateway.ca_file) as client, suppress(OSError):
            client.authenticate("no token")
    waits = [line["told_in"] for line in refused()][:5]
    assert waits == sorted(waits)
    most = Limits().failed_login_delay_max
    assert all(later >= min(most, 1.5 * before) for before, later in pairwise(waits))


def test_a_flood_through_both_workers_gets_one_quota(gateway: GatewayProcess) -> None:
    """100 requests a second; each worker by itself would let through as many."""
    until(lambda: nobody_connected(gateway))
    clients = in_both_workers(gateway, "flood", least=3)
    answers = [0] * len(clients)
    begun, seconds = time.monotonic(), 6.0

    def flood(number: int) -> None:
        while time.monotonic() - begun < seconds:
            clients[number].send(request(METADATA, 1, struct.pack(">i", 0)))
            clients[number].receive()
            answers[number] += 1

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    for client in clients:
        client.close()
    assert sum(answers) <= 100 * (took + 1) + 2 * len(clients)
    assert min(answers) >= 1


def handshake(gateway: GatewayProcess, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    plain = socket.create_connection(("localhost", gateway.port()), timeout=60)
    tls = context.wrap_socket(plain, server_hostname="localhost", session=session)
    tls.sendall(request(API_VERSIONS, 0))
    assert tls.recv(65536)  # what came with it, the ticket, is known now
    return tls


def test_a_session_ticket_of_one_worker_is_good_in_the_other(gateway: GatewayProcess) -> None:
    """Also in one that was mended, and when the certificate has changed."""
    context = ssl.create_default_context(cafile=gateway.ca_file)
    with handshake(gateway, context, None) as first:
        session = first.session
    assert session is not None
    assert session.has_ticket

    def resumed() -> list[bool]:
        at, found = len(gateway.audit()), []
        while len({line["connection"].split("-")[0] for line in gateway.audit()[at:] if "tls_version" in line}) < 2:
            with handshake(gateway, context, session) as tls:
                found.append(bool(tls.session_reused))
        return found

    assert all(resumed())
    at = len(gateway.audit())
    os.kill(worker_pid(gateway, 1), signal.SIGKILL)
    gateway.wait_audit(event="worker", worker=1, state="serves", after=at)
    assert all(resumed())


def test_an_office_that_dies_is_mended_and_clients_notice_nothing(gateway: GatewayProcess) -> None:
    (producer,) = kept_connections(gateway, 1)
    before = counted(gateway, "gateway_connections_accepted_total")
    workers = [worker_pid(gateway, worker) for worker in (1, 2)]
    first = office_pid(gateway)
    os.kill(first, signal.SIGKILL)
    errors: list[object] = []
    producer.produce("orders", b"meanwhile", on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
    assert errors == [None]

    def back() -> bool:
        return gateway.readyz()[0] == 200 and office_pid(gateway) != first

    until(back)
    assert [worker_pid(gateway, worker) for worker in (1, 2)] == workers
    assert counted(gateway, "gateway_connections_accepted_total") >= before
    gateway.change_policy(WIDER)
    assert produce(gateway, "payroll") is None
    gateway.change_policy(POLICY)


def test_a_worker_that_is_told_to_end_drains_and_another_follows(gateway: GatewayProcess) -> None:
    at = len(gateway.audit())
    producers = list(kept_connections(gateway, 4))
    os.kill(worker_pid(gateway, 1), signal.SIGTERM)
    gateway.wait_audit(event="worker", worker=1, state="ended", how="exit code 0", after=at)
    gateway.wait_audit(event="worker", worker=1, state="serves", after=at)
    until(lambda: gateway.admin("/readyz") == (200, "ready\n"))
    reasons = {line["reason"] for line in gateway.audit()[at:] if line["event"] == "closed"}
    assert reasons <= {"shutting-down", "client-disconnected"}
    del producers


def test_what_every_worker_has_is_not_told_twice(gateway: GatewayProcess) -> None:
    assert counted(gateway, "gateway_connections_max") == 4000
    assert counted(gateway, "gateway_ready") == 1
    assert counted(gateway, "gateway_backend_ready") == 1


def test_a_worker_that_hangs_is_killed_and_mended(gateway: GatewayProcess) -> None:
    at, pid = len(gateway.audit()), worker_pid(gateway, 2)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: gateway.admin("/readyz") == (503, "worker 2: does not answer\n"))
    gateway.wait_audit(event="worker", worker=2, state="ended", after=at)
    gateway.wait_audit(event="worker", worker=2, state="serves", after=at)
    assert counted(gateway, "gateway_worker_hangs_total") == 1
    assert "worker 2 does not answer" in gateway.log()


def test_who_does_not_know_the_word_is_not_let_in(gateway: GatewayProcess) -> None:
    """The office's door is a socket that anybody of this machine may knock at."""
    listed = Path("/proc/net/unix").read_text().splitlines()
    (name,) = {line.split()[-1] for line in listed if f"@gateway-{gateway.pid}-" in line}
    for said in ({"word": "0" * 64, "place": 1, "pid": 1}, {"place": 1}):
        message = json.dumps({"ask": "hello", "number": 1, "with": said}).encode()
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(60)
            door.connect("\0" + name[1:])
            door.sendall(struct.pack(">I", len(message)) + message)
            answer = door.recv(65536)
            assert b"revision" not in answer
            assert b"jwks" not in answer
    assert serving(gateway)
    assert gateway.admin("/readyz")[0] == 200


def held_open(gateway: GatewayProcess, file: Path) -> bool:
    """Whether any of its processes has a file open still."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    links = [link for pid in (gateway.pid, *children) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return any(link.resolve() == file for link in links)


def test_rotation_is_followed_by_all(gateway: GatewayProcess) -> None:
    audit = gateway.folder / "audit.jsonl"
    kept = gateway.folder / "audit.1.jsonl"
    audit.rename(kept)
    os.kill(gateway.pid, signal.SIGHUP)
    until(lambda: audit.exists() and not held_open(gateway, kept))
    size = kept.stat().st_size
    for _ in range(3):
        produce(gateway, "orders")
    until(lambda: sum('"event":"authenticated"' in line for line in audit.read_text().splitlines()) >= 3)
    connections = {json.loads(line).get("connection", "").split("-")[0] for line in audit.read_text().splitlines()}
    assert len(connections - {""}) >= 1
    assert kept.stat().st_size == size


def test_a_second_gateway_does_not_share_the_ports(gateway: GatewayProcess) -> None:
    command = [sys.executable, "-m", "gateway", "run", "--config", str(gateway.config_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "port-in-use" in done.stderr


def test_connections_of_an_address_are_counted_over_all_workers(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """Places are taken and looked at one after the other, so that two workers may each give the last one."""
    limits = {"connections_per_address_max": 10, "handshake_timeout": "60 s"}
    backends = {"main": ",".join(cluster.bootstrap)}
    with GatewayProcess(tmp_path, backends, policy=POLICY, limits=limits, workers=2) as made:
        peers = [socket.create_connection(("localhost", made.port())) for _ in range(40)]
        until(lambda: counted(made, "gateway_connections_accepted_total") == 40)
        assert 10 <= status(made)["connections"]["total"] <= 11
        line = made.wait_audit(event="refused", reason="connections-per-address-max")
        assert line["address"] == "127.0.0.1"
        for peer in peers:
            peer.close()
        until(lambda: nobody_connected(made))
        with RawClient(made.port(), made.ca_file) as again:
            assert again.authenticate(made.issuer.token("app"))[0] == 0


def in_both(gateway: GatewayProcess, one: Callable[[], object]) -> list[Any]:
    """What each of some connections says, which come to both workers."""
    at, found = len(gateway.audit()), list[Any]()
    while len({line["connection"].split("-")[0] for line in gateway.audit()[at:] if "tls_version" in line}) < 2:
        found.append(one())
    return found


def test_a_changed_certificate_is_shown_by_all_workers_and_tickets_stay_good_in_all(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    (tmp_path / "mount").mkdir()
    mount = Mount(tmp_path / "mount", make_ca(tmp_path / "ca"))
    listener = {"tls": {"certificate": str(mount.folder / "tls.crt"), "key": str(mount.folder / "tls.key")}}
    backends = {"main": ",".join(cluster.bootstrap)}
    with GatewayProcess(tmp_path / "gateway", backends, policy=POLICY, listener=listener, workers=2) as made:
        context = ssl.create_default_context(cafile=str(mount.ca.path))

        def serial(session: ssl.SSLSession | None = None) -> str:
            with handshake(made, context, session) as tls:
                shown = tls.getpeercert()
                assert shown is not None
                return str(shown["serialNumber"])

        (first,) = set(in_both(made, serial))
        with handshake(made, context, None) as tls:
            session = tls.session
        mount.put(*mount.ca.server())
        made.wait_audit(event="config-revision", listener="main-listener")
        (second,) = set(in_both(made, serial))
        assert second != first

        def resumed() -> bool:
            with handshake(made, context, session) as tls:
                return bool(tls.session_reused)

        assert all(in_both(made, resumed))
        mount.put(mount.ca.server()[0], mount.ca.server()[1])  # a key of another certificate
        made.wait_audit(event="warning", listener="main-listener")
        at = len(made.audit())
        os.kill(worker_pid(made, 1), signal.SIGKILL)
        made.wait_audit(event="worker", worker=1, state="serves", after=at)
        assert set(in_both(made, serial)) == {second}
        assert all(in_both(made, resumed))


def processes(gateway: GatewayProcess) -> list[int]:
    return [worker_pid(gateway, 1), worker_pid(gateway, 2), office_pid(gateway)]


def gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_sigterm_to_the_whole_group_drains_and_ends_with_0(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    """As a service manager sends it."""
    made = GatewayProcess(tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY, workers=2).start()
    (producer,) = kept_connections(made, 1)
    children = processes(made)
    os.killpg(made.pid, signal.SIGTERM)
    assert made.wait() == 0
    until(gone(children))
    made.stop()
    events = [line["event"] for line in made.audit()]
    assert "stopping" in events
    closed = [line for line in made.audit() if line["event"] == "closed"]
    assert closed[-1]["reason"] in ("shutting-down", "client-disconnected")
    del producer


def test_everything_ends_when_the_supervisor_is_killed(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    made = GatewayProcess(tmp_path, {"main": ",".join(cluster.bootstrap)}, policy=POLICY, workers=2).start()
    children = processes(made)
    made.kill()
    until(gone(children), 20)


SUPERVISED = """
import os, select, sys
from gateway.ops.workers.mending import Mending
from gateway.ops.workers.places import OFFICE, Field, Places
from gateway.ops.workers.supervisor import Supervisor

places = Places(2)

class Family:
    places = places
    shutdown_seconds = 5.0
    def let_go(self): pass
    def ended(self, worker): pass
    def renew(self): pass
    def body(self, place, line):
        return body(place, line)

def body(place, line):
    if place == 2 and int(places.get(2, Field.STARTS)) > int(sys.argv[1]):
        return int(sys.argv[2])
    places.put(place, Field.SERVING, 1.0)
    while not select.select([line], [], [], 0.02)[0]:
        places.put(place, Field.BEAT, __import__("time").monotonic())
        if place == 2 and places.get(2, Field.STARTS) <= int(sys.argv[1]):
            os.kill(os.getpid(), 9)
    return 0

code = Supervisor(Family(), mending=lambda: Mending((0.0,))).run()
print("starts", int(places.get(2, Field.STARTS)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("good", "code", "ends_with", "starts"),
    [(0, 2, 2, 1), (0, 1, 1, STARTS_MAX), (3, 3, 3, 3 + STARTS_MAX)],
    ids=["refused at the first start", "never starts", "starts no more"],
)
def test_a_worker_that_cannot_start_ends_the_whole(good: int, code: int, ends_with: int, starts: int) -> None:
    """`good`: starts after which it serves and dies; the code is what it ends with from then on."""
    command = [sys.executable, "-c", SUPERVISED, str(good), str(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ends_with, done.stderr
    assert done.stdout == f"starts {starts}\n"
    assert "worker 2 could not start" in done.stderr

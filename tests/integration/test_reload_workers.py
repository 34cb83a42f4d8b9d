"""Another configuration with several workers: all of it in all of them or nothing in any, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.settings import Limits
from gateway.ops.demo.cluster import EmbeddedCluster
from tests.integration.test_admin import command
from tests.integration.test_reload import Change, asked, change, held, known, other_listener, refused_port, write
from tests.integration.test_run import POLICY, until
from tests.integration.test_workers import in_both, office_pid, serving, status, worker_pid
from tests.real.gateway import GatewayProcess, Line
from tests.real.ports import free_ports


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture
def gateway(
    cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GatewayProcess]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    limits = {"shutdown_timeout": "3 s"}
    backends = {"main": ",".join(cluster.bootstrap)}
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(folder, backends, policy=POLICY, limits=limits, workers=2) as made:
        yield made


def in_flight(number: int) -> Change:
    return lambda config: config["limits"].update(in_flight_max=number)


def revisions(gateway: GatewayProcess) -> set[str]:
    """Of the configuration: what the gateway says as a whole, and each worker."""
    found = status(gateway)
    return {found["configuration"]["revision"], *(each["configuration"] for each in found["workers"])}


def killed(gateway: GatewayProcess, worker: int) -> None:
    """Kill a worker, and wait for the next one in its place."""
    at = len(gateway.audit())
    os.kill(worker_pid(gateway, worker), signal.SIGKILL)
    gateway.wait_audit(event="worker", worker=worker, state="serves", after=at)


def taken(gateway: GatewayProcess, how: Change) -> Line:
    line = change(gateway, how)
    assert line["event"] == "config-revision", line
    return line


def test_all_workers_have_one_revision_and_who_is_mended_has_it_too(gateway: GatewayProcess) -> None:
    revision = taken(gateway, in_flight(77))["revision"]
    assert revisions(gateway) == {revision}
    shown = command(gateway, "status").stdout
    assert shown.count(revision) == 3
    (gateway.folder / "gateway.yaml").write_text("listeners: [")
    gateway.wait_audit(event="config-refused")
    for worker in (1, 2):
        killed(gateway, worker)
    assert revisions(gateway) == {revision}
    os.kill(office_pid(gateway), signal.SIGKILL)

    def told() -> bool:
        with contextlib.suppress(OSError):
            return revisions(gateway) == {revision}
        return False

    until(told, 20)


def test_a_listener_that_came_is_served_by_all_also_by_who_is_mended_and_one_that_goes_is_closed(
    gateway: GatewayProcess,
) -> None:
    ports = free_ports(12, consecutive=True)
    taken(gateway, lambda config: other_listener(config, ports))

    def served() -> None:
        with known(gateway, ports[0]) as client:
            asked(client)

    in_both(gateway, served)
    for worker in (1, 2):
        killed(gateway, worker)
    in_both(gateway, served)

    def without_the_first(config: dict[str, Any]) -> None:
        config["listeners"] = config["listeners"][1:]

    first = gateway.port()
    taken(gateway, without_the_first)
    until(lambda: refused_port(first))
    killed(gateway, 1)
    assert refused_port(first)
    in_both(gateway, served)


def test_one_worker_that_cannot_refuses_it_for_all_and_is_named(gateway: GatewayProcess) -> None:
    """No file can be opened in one of them."""
    before = revisions(gateway)
    pid = worker_pid(gateway, 2)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    line = change(gateway, in_flight(78))
    assert line["event"] == "config-refused"
    assert all(mistake.startswith("worker 2: ") for mistake in line["mistakes"])
    assert "tls-file-unreadable" in line["mistakes"][0]
    done = command(gateway, "reload")
    assert done.returncode == 1
    assert "worker 2: " in done.stdout
    assert revisions(gateway) == before
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert command(gateway, "reload").returncode == 0
    assert len(revisions(gateway)) == 1
    assert revisions(gateway) != before


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def has_port(pid: int, port: int) -> bool:
    """Whether a process listens there, without asking the gateway, which may be waiting for a worker."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(os.readlink(each).removeprefix("socket:[").removesuffix("]"))
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[9] in inodes for row in rows)


def test_a_worker_that_dies_before_it_has_agreed_holds_nobody_up_and_comes_back_with_it(
    gateway: GatewayProcess,
) -> None:
    ports, pid, second = free_ports(12, consecutive=True), worker_pid(gateway, 1), worker_pid(gateway, 2)
    at = len(gateway.audit())
    with stopped(pid):
        write(gateway, lambda config: other_listener(config, ports))
        until(lambda: has_port(second, ports[0]), 20)
        os.kill(pid, signal.SIGKILL)
    line = gateway.wait_audit(lambda line: line["event"] in ("config-revision", "config-refused"), after=at)
    assert line["event"] == "config-revision"
    gateway.wait_audit(event="worker", worker=1, state="serves", after=at)
    until(lambda: serving(gateway))
    assert revisions(gateway) == {line["revision"]}
    in_both(gateway, lambda: known(gateway, ports[0]).close())


def test_an_office_that_dies_before_all_have_agreed_leaves_nothing_behind_and_the_next_one_finishes(
    gateway: GatewayProcess,
) -> None:
    ports, office = free_ports(12, consecutive=True), office_pid(gateway)
    at = len(gateway.audit())
    second = worker_pid(gateway, 2)
    with stopped(worker_pid(gateway, 1)):
        write(gateway, lambda config: other_listener(config, ports))
        until(lambda: has_port(second, ports[0]), 20)
        os.kill(office, signal.SIGKILL)
        until(lambda: not has_port(second, ports[0]), 20)
    line = gateway.wait_audit(lambda line: line["event"] in ("config-revision", "config-refused"), after=at)
    assert line["event"] == "config-revision"
    assert revisions(gateway) == {line["revision"]}
    assert worker_pid(gateway, 2) == second
    in_both(gateway, lambda: known(gateway, ports[0]).close())


def test_more_connections_than_there_is_room_for_wait_for_a_restart(gateway: GatewayProcess) -> None:
    most = held(gateway)["limits"].get("connections_max", Limits().connections_max)

    def more(config: dict[str, Any]) -> None:
        config["limits"].update(connections_max=most * 2, in_flight_max=80)

    line = taken(gateway, more)
    assert line["waiting"] == ["limits.connections_max"]
    assert "needs a restart: limits.connections_max" in command(gateway, "reload").stdout
    killed(gateway, 1)
    assert revisions(gateway) == {line["revision"]}
    assert taken(gateway, lambda config: config["limits"].update(connections_max=most))["waiting"] == []

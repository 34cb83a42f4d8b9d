"""The admin port says what is alive, what is missing and what was counted, and can change nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.meters import Meter, Meters
from gateway.ops import admin, metrics

DENIED = Meter("gateway_test_denied_total", "Denied.", ("reason",))
OPEN = Meter("gateway_test_open", "Open now.", kind="gauge")
AGE = Meter("gateway_test_age_seconds", "Age.", ("issuer",), "gauge")


@pytest.fixture
def meters() -> Meters:
    return Meters()


@pytest.fixture
def missing() -> list[str]:
    return []


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
async def client(meters: Meters, missing: list[str], notes: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    exposition = metrics.exposition(meters, lambda: [(AGE, ("corp",), 12.0)])
    transport = httpx.ASGITransport(admin.application(lambda: missing, lambda: notes, exposition))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9640") as made:
        yield made


async def test_healthz_is_alive_also_when_not_ready(client: httpx.AsyncClient, missing: list[str]) -> None:
    missing.append("backend main: no broker reached yet")
    assert (await client.get("/healthz")).status_code == 200


async def test_readyz_names_everything_that_is_missing(client: httpx.AsyncClient, missing: list[str]) -> None:
    assert (await client.get("/readyz")).text == "ready\n"
    missing += ["backend main: no broker reached yet", "issuer corp: no keys yet"]
    found = await client.get("/readyz")
    assert found.status_code == 503
    assert found.text.splitlines() == missing


async def test_refused_policies_are_noted_and_keep_it_ready(client: httpx.AsyncClient, notes: list[str]) -> None:
    notes.append("policy files refused for 5 s; revision abc is in force")
    found = await client.get("/readyz")
    assert found.status_code == 200
    assert found.text == "ready\nnote: policy files refused for 5 s; revision abc is in force\n"


def values(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


async def test_metrics_are_what_prometheus_reads(client: httpx.AsyncClient, meters: Meters) -> None:
    meters.cell(DENIED, "no-rule").value += 3
    meters.cell(DENIED, "no-binding").value += 1
    meters.cell(OPEN).value = 7
    found = await client.get("/metrics")
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = list(values(found.text))
    assert ("gateway_test_denied_total", {"reason": "no-rule"}, 3.0) in samples
    assert ("gateway_test_denied_total", {"reason": "no-binding"}, 1.0) in samples
    assert ("gateway_test_open", {}, 7.0) in samples
    assert ("gateway_test_age_seconds", {"issuer": "corp"}, 12.0) in samples
    names = {name for name, _, _ in samples}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= names
    assert "gateway_build_info" in names


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_changed(client: httpx.AsyncClient, path: str, method: str) -> None:
    assert (await client.request(method, path)).status_code == 405


@pytest.mark.parametrize("path", ["/", "/metrics/", "/reload", "/healthz/x"])
async def test_nothing_else_is_there(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (404, 307)


@pytest.mark.parametrize(("host", "status"), [
    ("localhost:9640", 200), ("127.0.0.1:9640", 200), ("[::1]:9640", 200),
    ("attacker.example", 400), ("attacker.example:9640", 400), ("127.0.0.1.attacker.example", 400),
])  # fmt: skip
async def test_a_foreign_host_name_is_turned_away(client: httpx.AsyncClient, host: str, status: int) -> None:
    assert (await client.get("/metrics", headers={"host": host})).status_code == status


async def test_it_serves_on_a_socket_of_its_own_and_ends_when_told(meters: Meters) -> None:
    import socket

    sock = socket.create_server(("127.0.0.1", 0))
    missing = ["listener kafka: no broker of backend main was reached yet"]
    server = admin.server(admin.application(lambda: missing, list, metrics.exposition(meters, list)))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    async with httpx.AsyncClient(trust_env=False) as client:
        port = sock.getsockname()[1]
        for _ in range(6000):
            try:
                found = await client.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.01)
        assert found.status_code == 503
        assert "server" not in found.headers
        assert abs(parsedate_to_datetime(found.headers["date"]).timestamp() - time.time()) < 3600  # RFC 9110, 6.6.1
        now = parsedate_to_datetime((await client.get(f"http://127.0.0.1:{port}/healthz")).headers["date"])
        assert now >= parsedate_to_datetime(found.headers["date"])
    server.end()
    await asyncio.wait_for(task, 60)
    sock.close()

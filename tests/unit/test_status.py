"""The status page is bounded whatever is connected, tells nothing secret, and hands a terminal no commands."""

from __future__ import annotations

import json
from ipaddress import ip_address

import httpx
import pytest

from gateway.core.identity import Principal
from gateway.core.limits import Quotas
from gateway.core.policy import DEFAULT_QUOTA
from gateway.edge.admission import Place
from gateway.edge.connections import Open
from gateway.ops import admin, status, status_table
from gateway.ops.admin_changes import parse_principal


class Known:
    """A session as far as status looks at one."""

    mechanism = "PLAIN"

    def __init__(self, name: str, expires_at: float) -> None:
        self.principal = Principal("jwt", "corp", name)
        self.expires_at = expires_at


def line(number: int, name: str, expires_at: float = 2000.0) -> Open:
    made = Open(f"c-{number}", "front", ip_address("192.0.2.1"), 900.0, Place((False, 4, 1), 900.0))
    made.session = Known(name, expires_at)  # type: ignore[assignment]
    return made


def connections(lines: list[Open]) -> dict[str, object]:
    return status._connections(lines, 3, 1000.0)


def test_a_connection_is_told_with_how_and_until_when() -> None:
    found = json.loads(json.dumps(connections([line(1, "alice"), line(2, "alice", float("inf"))])))
    (alice,) = found["principals"]
    assert alice["principal"] == "jwt:corp:alice"
    assert alice["shown"][0] == {
        "connection": "c-1", "listener": "front", "address": "192.0.2.1", "mechanism": "PLAIN", "age": 100.0,
        "expires_in": 1000.0,
    }  # fmt: skip
    assert alice["shown"][1]["expires_in"] is None
    assert (found["total"], found["unauthenticated"], found["principals_more"]) == (2, 3, 0)


@pytest.mark.parametrize("more", [0, 1])
def test_principals_are_bounded_and_the_busiest_stay(more: int) -> None:
    count = status.PRINCIPALS_SHOWN_MAX + more
    found = connections([line(number, f"p{number}") for number in range(count)] + [line(-1, f"p{count - 1}")])
    shown = found["principals"]
    assert isinstance(shown, list)
    assert len(shown) == status.PRINCIPALS_SHOWN_MAX
    assert found["principals_more"] == more
    assert shown[0]["principal"] == f"jwt:corp:p{count - 1}"


@pytest.mark.parametrize("more", [0, 1])
def test_connections_of_one_are_bounded(more: int) -> None:
    count = status.CONNECTIONS_SHOWN_MAX + more
    found = connections([line(number, "alice") for number in range(count)])
    shown = found["principals"]
    assert isinstance(shown, list)
    assert shown[0]["connections"] == count
    assert len(shown[0]["shown"]) == status.CONNECTIONS_SHOWN_MAX


def test_who_is_held_back_and_for_how_long() -> None:
    quotas = Quotas()
    for name in ("calm", "loud", "gone"):
        account = quotas.account(Principal("jwt", "corp", name), DEFAULT_QUOTA, 0.0)
        account.connect()
        if name != "calm":
            account.produce(int(DEFAULT_QUOTA.produce_bytes * 3), 0.0)
        if name == "gone":
            account.disconnect()
    found = dict(quotas.in_debt(0.5))
    assert {str(principal) for principal in found} == {"jwt:corp:loud"}
    assert next(iter(found.values())) == pytest.approx(1.5)
    many = [(Principal("jwt", "corp", str(number)), float(number)) for number in range(status.THROTTLED_SHOWN_MAX + 1)]
    shown = status._throttled(many)
    assert shown["principals_more"] == 1
    assert shown["principals"][0]["seconds"] == status.THROTTLED_SHOWN_MAX  # type: ignore[index]


def test_a_name_is_no_command_to_a_terminal() -> None:
    (head, row) = list(status_table.table(("name",), [("a\x1b]0;owned\x07\n\u009bb",)]))[1:]
    assert head == "name"
    assert row == "a?]0;owned???b"


@pytest.mark.parametrize(("seconds", "said"), [
    (-1, "0 s"), (0.25, "0.2 s"), (59, "59 s"), (61, "1 min 1 s"), (7200, "2 h 0 min"), (90000, "1 d 1 h"),
])  # fmt: skip
def test_spans(seconds: float, said: str) -> None:
    assert status_table.span(seconds) == said


@pytest.mark.parametrize(("text", "name"), [
    ("jwt:corp:alice", "alice"), ("jwt:corp:a:b", "a:b"), ("certificate:clients:spiffe://x/y", "spiffe://x/y"),
])  # fmt: skip
def test_a_principal_is_read_as_it_is_written(text: str, name: str) -> None:
    found = parse_principal(text)
    assert found is not None
    assert (found.name, str(found)) == (name, text)


@pytest.mark.parametrize("text", ["", "alice", "jwt", "jwt:", "jwt:corp", "jwt:corp:", "jwt::alice", "JWT:corp:alice"])
def test_what_is_no_principal(text: str) -> None:
    assert parse_principal(text) is None


async def test_the_health_port_says_yes_or_no_and_never_why() -> None:
    missing = ["backend payments-internal: no broker was reached yet"]
    transport = httpx.ASGITransport(admin.health(lambda: missing))
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:9641") as client:
        found = await client.get("/readyz")
        assert (found.status_code, found.text) == (503, "not ready\n")
        assert (await client.get("/healthz")).status_code == 200
        missing.clear()
        assert (await client.get("/readyz")).text == "ready\n"
        assert (await client.post("/readyz")).status_code == 405


@pytest.mark.parametrize(
    ("ready", "error", "said"), [(True, "", "ready"), (True, "refused", "LOST"), (False, "refused", "NOT REACHED")]
)
def test_a_backend_that_was_reached_and_is_not_any_more_is_lost(ready: bool, error: str, said: str) -> None:
    assert status_table._reached({"ready": ready, "error": error}) == said

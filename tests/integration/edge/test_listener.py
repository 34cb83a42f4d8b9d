"""Ports: all of a listener or none, addresses, and a process without file descriptors."""

from __future__ import annotations

import asyncio
import resource
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from gateway.core import settings
from gateway.core.audit import AuditEvent
from gateway.core.meters import Meters
from gateway.edge import listener as module
from gateway.edge.clock import SystemClock
from gateway.edge.front import ListenerSetup
from gateway.edge.listener import bind, client_address
from gateway.edge.reasons import StartRefused
from gateway.edge.server import Server
from gateway.edge.tls import server_context
from tests.certificates import make_ca
from tests.edge import EchoSession, frame, listener_settings, nobody_answers, nobody_dialled, running, until


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(1)
        except OSError:
            return False
        return True


def test_the_whole_range_is_bound(tmp_path: Path) -> None:
    listener = listener_settings(make_ca(tmp_path), brokers=5)
    bound = bind(listener)
    try:
        assert [each.node_id for each in bound] == [None, 0, 1, 2, 3, 4]
        assert [each.port for each in bound] == [listener.port, *range(listener.port + 1, listener.port + 6)]
        assert not any(is_free(each.port) for each in bound)
    finally:
        for each in bound:
            each.sock.close()


def test_a_port_in_use_is_named_and_none_is_kept(tmp_path: Path) -> None:
    listener = listener_settings(make_ca(tmp_path), brokers=5)
    with socket.create_server(("127.0.0.1", listener.port + 4)):
        with pytest.raises(StartRefused) as caught:
            bind(listener)
        assert caught.value.reason.code == "port-in-use"
        assert str(listener.port + 4) in caught.value.detail
        assert all(is_free(listener.port + offset) for offset in (0, 1, 2, 3, 5))


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    listener = listener_settings(make_ca(tmp_path)).model_copy(update={"bind": "192.0.2.1"})
    with pytest.raises(StartRefused) as caught:
        bind(listener)
    assert caught.value.reason.code == "bind-address-unknown"
    with pytest.raises(StartRefused) as caught:
        bind(listener.model_copy(update={"bind": "no-such-host.invalid"}))
    assert caught.value.reason.code == "bind-address-unknown"


def test_an_address_that_is_found_twice_is_bound_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a hosts file has two lines for it."""
    real = socket.getaddrinfo
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *words, **more: real(*words, **more) * 2)
    listener = listener_settings(make_ca(tmp_path), brokers=1)
    bound = bind(listener)
    try:
        assert [each.port for each in bound] == [listener.port, listener.port + 1]
    finally:
        for each in bound:
            each.sock.close()


def test_of_two_listeners_all_ports_or_none(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    first = listener_settings(ca)
    taken = listener_settings(ca)
    setups = [
        ListenerSetup(
            each, server_context(each.tls, each.advertised), lambda _: EchoSession, nobody_dialled, lambda: ""
        )
        for each in (first, taken)
    ]
    events: list[AuditEvent] = []
    server = Server(setups, settings.Limits(), events.append, Meters(), SystemClock(), nobody_answers)
    with socket.create_server(("127.0.0.1", taken.port + 1)), pytest.raises(StartRefused):
        server.bind()
    assert is_free(first.port)
    assert is_free(taken.port)


def test_limits_that_contradict_each_other(tmp_path: Path) -> None:
    limits = settings.Limits(buffered_bytes_max=100 << 20, frame_bytes_max=100 << 20)
    with pytest.raises(StartRefused) as caught:
        Server([], limits, lambda event: None, Meters(), SystemClock(), nobody_answers)
    assert caught.value.reason.code == "buffer-budget-too-small"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_addresses_as_policies_see_them(text: str, address: str) -> None:
    assert client_address(text) == ip_address(address)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_both_address_families_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 on loopback")
    made = listener_settings

    def everywhere(*arguments: Any, **options: Any) -> settings.Listener:
        return made(*arguments, **options).model_copy(update={"bind": "::"})

    monkeypatch.setattr("tests.edge.listener_settings", everywhere)
    async with running(tmp_path, EchoSession) as gateway:
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(
                host, gateway.port, ssl=gateway.client_context(), server_hostname="localhost"
            )
            writer.write(frame(b"x"))
            assert await reader.readexactly(5) == frame(b"x")
            writer.close()
            await writer.wait_closed()
        assert [str(each.peer.address) for each in gateway.sessions] == ["127.0.0.1", "::1"]


async def test_without_file_descriptors_accepting_pauses_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        waiting = socket.create_connection(("127.0.0.1", gateway.port))  # fills the accept queue below
        waiting.close()
        await until(lambda: [event.event for event in gateway.events] == ["probed"])
        sock = socket.socket()
        sock.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with open("/dev/null") as probe:
            next_free = probe.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
        try:
            sock.connect_ex(("127.0.0.1", gateway.port))
            await until(lambda: any(event.event == "warning" for event in gateway.events))
            await client.send(frame(b"still here"))
            assert await client.receive() == b"still here"
            assert gateway.reasons() == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        sock.close()
        late = await gateway.connect()
        await late.send(frame(b"x"))
        assert await late.receive() == b"x"
        await late.close()
        await client.close()

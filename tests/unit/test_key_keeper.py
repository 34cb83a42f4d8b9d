"""Keys kept fresh: from files and from a real https server, on schedule and on demand, whatever fails."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.core.audit import AuditEvent
from gateway.core.keys import JWKS_BYTES_MAX, KeyRing
from gateway.core.meters import Meters
from gateway.core.session import KeysRefreshed, KeysWanted, Unavailable
from gateway.core.settings import Issuer, KeySource
from gateway.edge import key_files, key_sources
from gateway.edge.keys import AGE, FETCHES, KeyKeeper
from gateway.edge.looks import looks
from gateway.edge.watch import Fingerprint, fingerprint
from tests.certificates import Ca, make_ca
from tests.corpus.tokens import jwk


class Clock:
    """Real time, so that pauses of milliseconds pass."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def document(*kids: str) -> bytes:
    return json.dumps({"keys": [jwk("ec256", kid=kid) for kid in kids]}).encode()


class Site:
    """An https server that answers each request with what `answer` makes."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self.body = document("first")
        self.head = b"HTTP/1.1 200 OK\r\n"
        self.hold: asyncio.Event | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            body = self.body
            if self.hold is not None:
                await self.hold.wait()
            head = self.head
            if b"GET /moved" in request:
                head, body = b"HTTP/1.1 200 OK\r\n", document("moved")
            writer.write(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    def url(self, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}/keys"


@asynccontextmanager
async def serving(ca: Ca) -> AsyncIterator[Site]:
    site = Site()
    certificate, key = ca.server("issuer", hosts=["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        await server.wait_closed()


class House:
    """A keeper with its ring, and what it told."""

    def __init__(self, *issuers: Issuer, **more: Any) -> None:
        self.ring, self.told, self.meters = KeyRing(), list[AuditEvent](), Meters()
        self.keeper = KeyKeeper(issuers, self.ring, self.told.append, Clock(), self.meters, **more)

    async def __aenter__(self) -> House:
        await self.keeper.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.keeper.close()

    def kids(self, issuer: str = "corp") -> set[str]:
        key_set = self.ring.get(issuer)
        return set() if key_set is None else set(key_set.by_kid)

    def results(self) -> list[object]:
        return [event.fields["result"] for event in self.told]


def issuer(name: str = "corp", **keys: Any) -> Issuer:
    return Issuer(name=name, issuer=f"https://{name}", audiences=("a",), keys=KeySource(**keys))


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path / "ca")


def url_issuer(site: Site, authority: Ca, /, **more: Any) -> Issuer:
    return issuer(**{"url": site.url(), "ca": str(authority.path), "timeout": 30.0, **more})


async def test_keys_of_a_url_are_there_after_start(ca: Ca) -> None:
    async with serving(ca) as site, House(url_issuer(site, ca)) as house:
        assert house.kids() == {"first"}
        assert house.keeper.ready() == ()
        assert house.results() == ["loaded"]
        assert house.told[0].event == "keys"
        assert [(meter, labels) for meter, labels, _ in house.keeper.readings()] == [(AGE, ("corp",))]
        assert b"accept-encoding: identity" in site.requests[0].lower()


async def test_the_schedule_goes_on_after_failures_and_the_last_good_keys_stay(ca: Ca) -> None:
    async with serving(ca) as site, House(url_issuer(site, ca, refresh=0.02, fetch_interval_min=0.01)) as house:
        site.head = b"HTTP/1.1 500 Oops\r\n"
        await until(lambda: "corp" in house.keeper.last_errors())
        seen = len(site.requests)
        await until(lambda: len(site.requests) > seen + 3)
        assert house.kids() == {"first"}
        assert house.keeper.last_errors() == {"corp": "HTTP status 500"}
        assert house.results() == ["loaded", "failed"]  # told once, not at each try
        site.head, site.body = b"HTTP/1.1 200 OK\r\n", b"<html>"
        await until(lambda: "JSON" in house.keeper.last_errors().get("corp", ""))
        site.body = document("second")
        await until(lambda: house.kids() == {"second"})
        assert house.keeper.last_errors() == {}
        assert house.results()[-1] == "loaded"
        assert house.meters.cell(FETCHES, "corp", "failed").value > 3


async def test_an_unknown_kid_waits_for_the_next_permitted_fetch_and_all_share_it(ca: Ca) -> None:
    began = time.monotonic()
    async with serving(ca) as site, House(url_issuer(site, ca, fetch_interval_min=0.3)) as house:
        site.body = document("first", "second")
        wanted = [KeysWanted("corp", "second")] * 100 + [KeysWanted("corp", f"random-{n}") for n in range(100)]
        facts = await asyncio.gather(*(house.keeper.refresh(each) for each in wanted))
        assert facts == [KeysRefreshed("corp")] * 200
        assert house.kids() == {"first", "second"}
        assert len(site.requests) == 2
        assert time.monotonic() - began >= 0.3, "the first fetch came after the beginning"
        assert await house.keeper.refresh(KeysWanted("corp", "second")) == KeysRefreshed("corp")
        assert len(site.requests) == 2  # it was there: nothing to fetch


async def test_who_comes_during_a_fetch_is_not_answered_by_its_older_document(ca: Ca) -> None:
    async with serving(ca) as site, House(url_issuer(site, ca, fetch_interval_min=0.05)) as house:
        site.hold = asyncio.Event()
        first = asyncio.create_task(house.keeper.refresh(KeysWanted("corp", "x")))
        await until(lambda: len(site.requests) == 2)  # its answer is made, and held
        site.body = document("second")
        later = asyncio.create_task(house.keeper.refresh(KeysWanted("corp", "second")))
        await asyncio.sleep(0)
        site.hold.set()
        assert await first == KeysRefreshed("corp")
        assert await later == KeysRefreshed("corp")
        assert house.kids() == {"second"}


async def test_a_wait_that_cannot_help_ends_at_once(ca: Ca) -> None:
    async with serving(ca) as site, House(url_issuer(site, ca, fetch_interval_min=600.0), wait_max=60.0) as house:
        wanted = KeysWanted("corp", "unknown")
        async with asyncio.timeout(30):
            assert await house.keeper.refresh(wanted) == Unavailable(wanted)
            assert await house.keeper.refresh(KeysWanted("nobody", "k")) == Unavailable(KeysWanted("nobody", "k"))


async def test_a_failed_fetch_answers_unavailable_and_so_does_the_end(ca: Ca) -> None:
    async with serving(ca) as site:
        house = House(url_issuer(site, ca, fetch_interval_min=0.02))
        async with house:
            site.head = b"HTTP/1.1 503 Later\r\n"
            wanted = KeysWanted("corp", "unknown")
            assert await house.keeper.refresh(wanted) == Unavailable(wanted)
            site.hold = asyncio.Event()
            waiting = asyncio.create_task(house.keeper.refresh(wanted))
            await until(lambda: len(site.requests) >= 3)
            await house.keeper.close()
            assert await waiting == Unavailable(wanted)
            site.hold.set()
        assert await house.keeper.refresh(wanted) == Unavailable(wanted)


async def trouble(ca: Ca, prepare: Callable[[Site], dict[str, str] | None]) -> str:
    async with serving(ca) as site:
        more = prepare(site) or {}
        async with House(url_issuer(site, ca, **more)) as house:
            assert house.kids() == set()
            (line,) = house.keeper.ready()
            assert line.startswith("no keys of issuer corp: ")
            assert house.results() == ["failed"]
            return line


def answers(head: bytes = b"HTTP/1.1 200 OK\r\n", body: bytes = b"{}") -> Callable[[Site], None]:
    def prepare(site: Site) -> None:
        site.head, site.body = head, body

    return prepare


async def test_what_cannot_be_fetched_is_named(ca: Ca, tmp_path: Path) -> None:
    assert "HTTP status 404" in await trouble(ca, answers(b"HTTP/1.1 404 Not Found\r\n"))
    assert "no list named keys" in await trouble(ca, answers())
    assert f"more than {JWKS_BYTES_MAX} bytes" in await trouble(ca, answers(body=b" " * (JWKS_BYTES_MAX + 1)))
    assert "encoding" in await trouble(ca, answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"))
    elsewhere = b"HTTP/1.1 302 Found\r\nLocation: https://169.254.169.254/latest\r\n"
    assert "another origin" in await trouble(ca, answers(elsewhere))
    plain = b"HTTP/1.1 302 Found\r\nLocation: http://localhost/keys\r\n"
    assert "another origin" in await trouble(ca, answers(plain))
    assert "more than 3 redirects" in await trouble(ca, answers(b"HTTP/1.1 302 Found\r\nLocation: /keys\r\n"))
    assert "ConnectError" in await trouble(ca, lambda site: {"url": site.url("127.0.0.1")})  # not in its certificate
    assert "FileNotFoundError" in await trouble(ca, lambda site: {"ca": str(tmp_path / "missing.pem")})


async def test_a_certificate_of_another_ca_is_not_believed(ca: Ca, tmp_path: Path) -> None:
    async with serving(make_ca(tmp_path / "stranger")) as site, House(url_issuer(site, ca)) as house:
        assert "CERTIFICATE_VERIFY_FAILED" in house.keeper.ready()[0]
        assert site.requests == []


async def test_a_slow_issuer_times_out(ca: Ca) -> None:
    async with serving(ca) as site:
        site.hold = asyncio.Event()
        async with House(url_issuer(site, ca, timeout=0.5)) as house:
            assert "no whole answer within 0.5 s" in house.keeper.ready()[0]
        site.hold.set()


async def test_a_redirect_within_the_origin_is_followed(ca: Ca) -> None:
    async with serving(ca) as site:
        site.head, site.body = b"HTTP/1.1 302 Found\r\nLocation: /moved\r\n", b""
        async with House(url_issuer(site, ca)) as house:
            assert house.kids() == {"moved"}


async def test_the_environment_has_no_say(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with serving(ca) as site, House(url_issuer(site, ca)) as house:
        assert house.kids() == {"first"}


@pytest.fixture
def fast_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sources.FileSource, "poll", 0.01)


@pytest.mark.usefixtures("fast_poll")
async def test_a_changed_file_is_read_again_however_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(document("first"))
    async with House(issuer(file=str(path))) as house:
        assert house.kids() == {"first"}
        path.write_bytes(document("written over"))
        await until(lambda: house.kids() == {"written over"})
        (tmp_path / "new").write_bytes(document("renamed over"))
        (tmp_path / "new").replace(path)
        await until(lambda: house.kids() == {"renamed over"})
        path.write_bytes(b'{"keys": [')
        await until(lambda: bool(house.keeper.last_errors()))
        path.unlink()
        await until(lambda: "No such file" in house.keeper.last_errors().get("corp", ""))
        assert house.kids() == {"renamed over"}
        for folder, kid in (("a", "linked"), ("b", "swapped")):  # as Kubernetes mounts secrets
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "jwks.json").write_bytes(document(kid))
        (tmp_path / "data").symlink_to("a")
        path.symlink_to("data/jwks.json")
        await until(lambda: house.kids() == {"linked"})
        (tmp_path / "data2").symlink_to("b")
        (tmp_path / "data2").replace(tmp_path / "data")
        await until(lambda: house.kids() == {"swapped"})


@pytest.mark.usefixtures("fast_poll")
async def test_a_file_is_looked_at_also_under_settings_that_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(document("first"))
    async with House(issuer(file=str(path), refresh=600.0)) as house:
        await until(lambda: looks()._polls != {})
        house.keeper.use(await house.keeper.prepare([issuer(file=str(path), refresh=700.0)]))
        await house.keeper.settle()
        path.write_bytes(document("written over"))
        await until(lambda: house.kids() == {"written over"})


@pytest.mark.usefixtures("fast_poll")
async def test_a_file_that_changes_while_somebody_waits_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(document("first"))
    async with House(issuer(file=str(path), fetch_interval_min=600.0), wait_max=700.0) as house:
        waiting = asyncio.create_task(house.keeper.refresh(KeysWanted("corp", "second")))
        await until(lambda: bool(house.keeper._kept["corp"]._waiting))
        path.write_bytes(document("first", "second"))
        async with asyncio.timeout(60):
            assert await waiting == KeysRefreshed("corp")


async def test_a_wish_looks_at_the_file_at_once_and_a_flood_of_them_no_oftener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Fingerprint] = []

    def look(patterns: Sequence[str]) -> Fingerprint:
        taken.append(fingerprint(patterns))
        return taken[-1]

    monkeypatch.setattr(key_files, "fingerprint", look)
    monkeypatch.setattr(key_files.FileSource, "poll", 600.0)
    path = tmp_path / "jwks.json"
    path.write_bytes(document("first"))
    async with House(issuer(file=str(path), fetch_interval_min=600.0), wait_max=700.0) as house:
        path.write_bytes(document("first", "second"))
        async with asyncio.timeout(60):
            assert await house.keeper.refresh(KeysWanted("corp", "second")) == KeysRefreshed("corp")
        assert len(taken) == 3, "by the first fetch, by the wish, by the second fetch"
        waiting = house.keeper._kept["corp"]._waiting
        async with asyncio.TaskGroup() as several:
            for number in range(1, 101):
                several.create_task(house.keeper.refresh(KeysWanted("corp", f"random-{number}")))
                if number % 20 == 0:
                    await until(lambda: len(waiting) == number and len(taken) >= 4 and not looks()._begun)  # noqa: B023
            await house.keeper.close()
        assert len(taken) == 4, "by the first of all these"


async def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(document("first") + b" " * JWKS_BYTES_MAX)
    async with House(issuer(file=str(path))) as house:
        assert f"more than {JWKS_BYTES_MAX} bytes" in house.keeper.ready()[0]


async def test_one_issuer_without_keys_holds_no_other_back(tmp_path: Path, ca: Ca) -> None:
    lost = issuer("lost", file=str(tmp_path / "none"))
    async with serving(ca) as site, House(lost, url_issuer(site, ca)) as house:
        assert [line.split(":")[0] for line in house.keeper.ready()] == ["no keys of issuer lost"]
        assert house.kids() == {"first"}


async def test_a_bug_in_a_source_does_not_end_the_schedule(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(document("first"))
    house = House(issuer(file=str(path), refresh=0.01, fetch_interval_min=0.01))
    kept = house.keeper._kept["corp"]
    sound: Callable[[], Awaitable[bytes]] = kept._source.fetch

    async def broken() -> bytes:
        raise KeyError("nobody expected this")

    kept._source.fetch = broken  # type: ignore[method-assign]
    async with house:
        assert house.keeper.last_errors() == {"corp": "KeyError"}
        kept._source.fetch = sound  # type: ignore[assignment,method-assign]
        await until(lambda: house.kids() == {"first"})

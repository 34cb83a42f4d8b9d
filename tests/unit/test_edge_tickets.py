"""Session tickets: good in every worker, over a changed certificate, for one listener, and no longer than stated."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from OpenSSL import SSL

from gateway.core.settings import ListenerTls
from gateway.edge import tickets
from gateway.edge.tickets import ROTATE_SECONDS, TICKET_SECONDS, ServerContext, Tickets, begin, give
from gateway.edge.tls import server_context, stem, stem_versions
from tests.certificates import Ca, make_ca

BOTH = ("1.2", "1.3")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return make_ca(tmp_path_factory.mktemp("ca"))


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def listener(ca: Ca, name: str = "front", **more: Any) -> ServerContext:
    """A context with a certificate of its own."""
    certificate, key = ca.server()
    settings = ListenerTls(certificate=str(certificate), key=str(key), **more)
    return server_context(settings, "localhost", listener=name)


class Client:
    """One that keeps its session, as a worker after the other sees it."""

    def __init__(self, ca: Ca, version: str) -> None:
        self._context = ssl.create_default_context(cafile=str(ca.path))
        only = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        self._context.minimum_version = self._context.maximum_version = only
        self.session: ssl.SSLSession | None = None

    def resumes(self, context: SSL.Context) -> bool:
        """Shake hands, and say whether that resumed the session so far. The one kept is the one given now."""
        server = begin(context)
        server.set_accept_state()
        come, gone = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._context.wrap_bio(come, gone, server_hostname="localhost", session=self.session)
        done = [False, False]
        for _ in range(20):
            try:
                client.do_handshake()
                done[0] = True
            except ssl.SSLWantReadError:
                pass
            if sent := gone.read():
                server.bio_write(sent)
            try:
                server.do_handshake()
                done[1] = True
            except SSL.WantReadError:
                pass
            while True:
                try:
                    come.write(server.bio_read(65536))
                except SSL.WantReadError:
                    break
            if all(done):
                break
        server.send(b"x")
        come.write(server.bio_read(65536))
        assert client.read(1) == b"x"  # and with it the ticket
        resumed = bool(client.session_reused)
        self.session = client.session
        return resumed


def test_a_ticket_is_good_after_the_certificate_was_changed_for_its_own_listener_alone(ca: Ca) -> None:
    keys = Tickets(stem, Time())
    old, new, other = listener(ca), listener(ca), listener(ca, "other")
    for each in (old, new, other):
        give(each, keys)
    client = Client(ca, "1.3")
    assert [client.resumes(old), client.resumes(old), client.resumes(new)] == [False, True, True]
    assert client.resumes(other) is False


@pytest.mark.parametrize("versions", [BOTH, ("1.2",)])
@pytest.mark.parametrize("certificates", [1, 2])
def test_no_ticket_is_given_in_tls_1_2(ca: Ca, versions: tuple[str, ...], certificates: int) -> None:
    """It would carry the session's master secret."""
    more = {}
    if certificates == 2:
        more["certificates"] = [dict(zip(("certificate", "key"), map(str, ca.server()), strict=True))]
    context, client = listener(ca, versions=versions, **more), Client(ca, "1.2")
    give(context, Tickets(stem, Time()))
    assert [client.resumes(context), client.resumes(context)] == [False, False]
    assert client.session is not None
    assert not client.session.has_ticket


def test_a_ticket_is_never_good_past_the_day_of_its_keys(ca: Ca) -> None:
    clock = Time()
    keys, context, client = Tickets(stem, clock), listener(ca), Client(ca, "1.3")
    give(context, keys)
    client.resumes(context)
    clock.now = ROTATE_SECONDS - 1.0
    assert client.resumes(context)
    clock.now = ROTATE_SECONDS
    assert not client.resumes(context)
    assert client.resumes(context)


@pytest.mark.parametrize("version", BOTH)
def test_tickets_without_keys_of_all_workers_are_a_contexts_own(ca: Ca, version: str) -> None:
    client = Client(ca, version)
    assert [client.resumes(listener(ca)), client.resumes(listener(ca))] == [False, False]


def test_a_stem_is_told_how_long_its_tickets_are_good(ca: Ca) -> None:
    assert stem(BOTH).get_timeout() == TICKET_SECONDS <= ROTATE_SECONDS


@pytest.mark.parametrize("more", [{"client_certificate": "optional"}, {"client_certificate": "required"}])
def test_who_asks_for_certificates_gives_none(ca: Ca, more: dict[str, Any]) -> None:
    context = listener(ca, client_ca=str(ca.path), **more)
    give(context, Tickets(stem, Time()))
    assert context.stem is None


def test_versions_in_any_order_have_one_stem() -> None:
    some = [ListenerTls(certificate="c", key="k", versions=versions) for versions in (("1.3", "1.2"), BOTH)]
    assert len({stem_versions(each) for each in some}) == 1


def test_stems_that_were_made_ahead_are_used_in_turn_and_dropped_when_their_day_is_over() -> None:
    clock, made = Time(), []

    def make(versions: tuple[str, ...]) -> SSL.Context:
        made.append(stem(versions))
        return made[-1]

    keys = Tickets(make, clock)
    keys.make_ahead([BOTH], days=3)
    assert [keys.stem(BOTH), keys.stem(BOTH)] == [made[0], made[0]]
    clock.now = 2 * ROTATE_SECONDS + 1.0
    assert keys.stem(BOTH) is made[2]
    assert keys._ahead == {BOTH: {}}
    clock.now = 3 * ROTATE_SECONDS
    assert keys.stem(BOTH) is made[3]  # of this process alone
    assert len(made) == 4


def test_who_only_forks_keeps_no_keys_of_days_that_are_over() -> None:
    clock = Time()
    keys = Tickets(stem, clock)
    keys.make_ahead([BOTH], days=3)
    clock.now = 1.5 * ROTATE_SECONDS
    keys.forget()
    assert sorted(keys._ahead[BOTH]) == [1, 2]


def test_enough_are_made_ahead_for_a_season() -> None:
    assert tickets.DAYS_AHEAD * tickets.ROTATE_SECONDS >= 90 * 86400

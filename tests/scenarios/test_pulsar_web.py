"""Pulsar's HTTP interface by scenarios: whose request it is, what a broker gets of it, and what the client gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.failed_logins import FailedLogins
from gateway.core.identity import Certificate, Principal
from gateway.core.session import Endpoint, KeysRefreshed, KeysWanted, Unavailable
from gateway.core.settings import Limits
from gateway.core.slices import WALKS_MAX
from gateway.http import reasons as http_reasons
from gateway.http.frames import DATA
from gateway.pulsar import reasons
from gateway.pulsar.web import meters
from gateway.pulsar.web import reasons as web_reasons
from gateway.pulsar.web.calls import REDIRECTS_MAX
from gateway.pulsar.web.serving import (
    ANSWER_SECONDS_MAX,
    BODY_BYTES_MAX,
    DISCARDED_BYTES_MAX,
    HELD_STEP,
    SHAPED_BYTES_MAX,
)
from tests.http import frame, request
from tests.scenarios.kafka_world import PLENTY, Seen, TablePolicy
from tests.scenarios.pulsar_world import OF_APP
from tests.scenarios.web_world import OK, WEB1, WEB2, Table, WebWorld, answered, head, status, table

__all__ = ["table"]
pytestmark = pytest.mark.usefixtures("table")
CERTIFICATE = Certificate("CN=app", "app", (), ("app.test",), "ab" * 32, 4e9)


# ---- whose request it is ------------------------------------------------------------------------------------------


def test_the_broker_is_told_who_the_client_is_by_the_gateways_own_role() -> None:
    world = WebWorld()
    more = {"Cookie": "a=b", "X_Forwarded_For": "1.2.3.4", "X_Pulsar_Auth_Method_Name": "token"}
    seen = world.ask("/open?x=1", Accept="text/plain", User_Agent="test/1", **more)
    first, headers, body = head(seen.up)
    assert first == b"GET /open?x=1 HTTP/1.1"
    assert headers == {
        b"host": b"broker2.internal:8443", b"accept": b"text/plain", b"user-agent": b"test/1",
        b"authorization": b"Bearer own-token", b"x-original-principal": b"alice",
    }  # fmt: skip
    assert body == b""
    assert world.session.upstream_endpoint() == WEB2
    assert world.session.parked
    seen = world.reply(OK)
    assert status(seen.down) == 200
    assert seen.down.endswith(b"\r\n\r\n[]")
    assert not world.session.parked
    assert world.session.principal is not None


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer a b"},
     {"Authorization": "Bearer a,b"}],
    ids=str,
)  # fmt: skip
def test_nobody_is_nobody(headers: dict[str, str]) -> None:
    world = WebWorld()
    seen = world.send(request("/open", **headers))
    assert status(seen.down) == 401
    assert b"www-authenticate: Bearer" in seen.down
    assert seen.close is not None
    assert seen.close.reason is web_reasons.HTTP_UNAUTHENTICATED
    assert not seen.up
    assert [each.fields["reason"] for each in world.lines("refused")] == ["http-unauthenticated"]


def test_two_authorizations_are_none() -> None:
    seen = WebWorld().send(
        request("/open", Authorization="Bearer alice").replace(b"\r\n\r\n", b"\r\nAUTHORIZATION: Bearer bob\r\n\r\n")
    )
    assert status(seen.down) == 401


@pytest.mark.parametrize(
    "header", ["X_Original_Principal", "x_original_auth", "X_ORIGINAL_ANYTHING", "Proxy_Authorization"]
)
def test_nobody_speaks_for_somebody_else(header: str) -> None:
    seen = WebWorld().ask("/open", **{header: "admin"})
    assert status(seen.down) == 403
    assert seen.close is not None
    assert seen.close.reason is web_reasons.HTTP_FORGED
    assert not seen.up


@pytest.mark.parametrize("name", ["gw", "admin"])
def test_no_client_has_a_role_of_the_gateways_own(name: str) -> None:
    seen = WebWorld().ask(token=name)
    assert status(seen.down) == 403
    assert seen.close is not None
    assert seen.close.reason is reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT


def test_a_bad_token_is_told_so_later_and_later() -> None:
    world = WebWorld(failures=FailedLogins())
    seen = world.ask(token="bad")
    assert not seen.down
    assert world.session.parked
    seen = world.advance(0.2)
    assert status(seen.down) == 401
    assert seen.close is not None
    assert seen.close.reason.code == "test-bad-token"


def test_a_missing_key_is_waited_for_once() -> None:
    world = WebWorld()
    seen = world.ask(token="newkey")
    assert seen.asks == [KeysWanted("corp", "kid-2")]
    assert not seen.down
    assert not seen.up
    world.tokens.keys_come = True
    assert world.tell(KeysRefreshed("corp")).up
    other = WebWorld()
    other.ask(token="newkey")
    assert status(other.tell(Unavailable(KeysWanted("corp", "kid-2"))).down) == 401


def test_a_connection_is_of_one_principal() -> None:
    world = WebWorld()
    world.ask()
    world.reply(OK)
    seen = world.ask(token="bob")
    assert status(seen.down) == 421
    assert seen.close is not None
    assert seen.close.reason is reasons.PRINCIPAL_CHANGED


def test_each_request_needs_a_token_that_is_good_now() -> None:
    world = WebWorld()
    world.ask(token="alice.90")
    world.reply(OK)
    world.ask(token="alice")
    world.reply(OK)
    assert len(world.lines("authenticated", "reauthenticated")) == 2
    seen = world.ask(token="bad")
    assert status(seen.down) == 401


def test_an_idle_connection_ends_with_what_was_proven() -> None:
    world = WebWorld()
    world.ask(token="alice.90")
    world.reply(OK)
    seen = world.advance(91)
    assert seen.close is not None
    assert seen.close.reason is reasons.SESSION_EXPIRED


def test_a_certificate_is_enough_where_no_token_is_shown() -> None:
    world = WebWorld(certificate=CERTIFICATE)
    _, headers, _ = head(world.ask(token="").up)
    assert headers[b"x-original-principal"] == b"app.test" or headers[b"x-original-principal"]
    assert headers[b"authorization"] == b"Bearer own-token"


def test_a_name_that_no_header_can_carry_is_nobodys() -> None:
    world = WebWorld(certificate=replace(CERTIFICATE, subject="CN=\u00e4", common_name="\u00e4", dns_names=(), uris=()))
    seen = world.ask(token="")
    assert status(seen.down) == 403
    assert not seen.up


def test_the_clients_own_token_where_brokers_are_shown_that() -> None:
    world = WebWorld(tokens_passed=True)
    _, headers, _ = head(world.ask().up)
    assert headers[b"authorization"] == b"Bearer alice"
    assert b"x-original-principal" not in headers
    assert status(world.reply(answered(401)).down) == 401


def test_without_a_credential_of_the_gateways_own_nothing_is_sent() -> None:
    world = WebWorld()
    world.account.secret = ""
    seen = world.ask()
    assert status(seen.down) == 503
    assert not seen.up


def test_who_does_not_say_who_it_is_is_let_go() -> None:
    world = WebWorld()
    world.send(b"GET /op")
    seen = world.advance(world.limits.authentication_timeout)
    assert seen.close is not None
    assert seen.close.reason is reasons.AUTHENTICATION_TIMEOUT


def test_the_time_to_log_in_begins_at_the_handshake_however_late_the_first_word_comes() -> None:
    world = WebWorld()
    world.connect(greeted=world.clock.monotonic() - world.limits.authentication_timeout + 5.0)
    world.send(b"GET /op")
    assert world.advance(4.9).close is None
    seen = world.advance(0.2)
    assert seen.close is not None
    assert seen.close.reason is reasons.AUTHENTICATION_TIMEOUT


def test_connections_count_for_the_principal() -> None:
    world = WebWorld(quota=replace(PLENTY, connections=1))
    world.ask()
    first = world.session
    world.connect()
    seen = world.ask()
    assert status(seen.down) == 429
    assert first.principal is not None


# ---- what is decided ----------------------------------------------------------------------------------------------


def test_a_denial_ends_no_connection(table: Table) -> None:
    world = WebWorld([])
    assert status(world.ask().down) == 403
    seen = world.ask("/open", "PUT", b"x" * 100)
    assert status(seen.down) == 403
    assert not seen.up
    assert world.ended is None
    world.allow()
    assert world.ask().up, "and the next revision holds from the next request on"


def test_a_denied_body_is_read_past_or_ends_the_connection() -> None:
    world = WebWorld([])
    data = request("/open", "PUT", bytes(DISCARDED_BYTES_MAX), Authorization="Bearer alice")
    assert status(world.send(data, chunk=9000).down) == 403
    assert world.ended is None
    seen = world.send(request("/open", "PUT", bytes(DISCARDED_BYTES_MAX + 1), Authorization="Bearer alice"))
    assert status(seen.down) == 403
    assert seen.close is not None


def test_nothing_goes_on_before_the_body_is_whole() -> None:
    world = WebWorld()
    data = request("/body", "PUT", b"x" * 5000, Authorization="Bearer alice", Content_Type="text/plain")
    assert not world.send(data[:-1]).up
    first, headers, body = head(world.send(data[-1:]).up)
    assert first == b"PUT /body HTTP/1.1"
    assert (headers[b"content-length"], headers[b"content-type"]) == (b"5000", b"text/plain")
    assert body == b"x" * 5000
    assert b"transfer-encoding" not in headers


def test_a_decision_may_need_the_body_and_write_it_anew(table: Table) -> None:
    world = WebWorld()
    _, _, body = head(world.ask("/needs", "POST", b"abc").up)
    assert body == b"cba"
    assert [each[2] for each in table.asked] == [None, b"abc"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_its_routes_limit(chunked: bool) -> None:
    world = WebWorld()
    if chunked:
        chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        data = b"PUT /body HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer alice\r\nTransfer-Encoding: chunked\r\n\r\n"
        data += 4 * chunk
    else:
        data = request("/body", "PUT", bytes(100_001), Authorization="Bearer alice")
    seen = world.send(data)
    assert status(seen.down) == 413
    assert not seen.up
    assert seen.close is not None


@pytest.mark.parametrize("target", ["/body", "/needs"])
def test_a_body_goes_on_by_the_rights_of_when_it_is_whole(target: str) -> None:
    world = WebWorld()
    data = request(target, "PUT", b"abcd", Authorization="Bearer alice")
    assert not world.send(data[:-4]).down
    world.policies.current = TablePolicy([], revision="r2")
    seen = world.send(data[-4:])
    assert not seen.up
    assert status(seen.down) == 403
    assert world.ended is None
    world.allow()
    data = request(target, "PUT", b"abcd", Authorization="Bearer alice")
    world.send(data[:-4])
    world.allow()
    assert world.send(data[-4:]).up, "rights that are others, and allow it as well"


@pytest.mark.parametrize("target", ["/body", "/needs"])
def test_a_body_that_comes_after_the_tokens_end_is_nobodys(target: str) -> None:
    world = WebWorld()
    world.advance(1)
    data = request(target, "PUT", b"abcd", Authorization="Bearer alice.5")
    assert not world.send(data[:-4]).down
    world.advance(6)
    seen = world.send(data[-4:])
    assert not seen.up
    assert status(seen.down) == 401
    assert seen.close is not None
    assert seen.close.reason is reasons.SESSION_EXPIRED


def test_a_request_is_sent_on_by_the_rights_of_then(table: Table) -> None:
    told = answered(307, f"Location: https://{WEB1.host}:{WEB1.port}/open?authoritative=true")
    world = WebWorld()
    world.ask()
    world.policies.current = TablePolicy([], revision="r2")
    seen = world.reply(told)
    assert not seen.up
    assert status(seen.down) == 403
    assert world.ended is None
    world.allow()
    world.ask()
    world.allow()
    assert world.reply(told).up.startswith(b"GET /open?authoritative=true ")
    assert status(world.reply(OK).down) == 200
    world.ask(token="alice.60")
    world.advance(61)
    seen = world.reply(told)
    assert not seen.up
    assert status(seen.down) == 401
    assert seen.close is not None


def test_a_request_is_sent_again_by_the_rights_of_then() -> None:
    world = WebWorld()
    world.ask()
    world.policies.current = TablePolicy([], revision="r2")
    seen = world.lose(reached=False)
    assert not seen.up
    assert status(seen.down) == 403


def test_a_list_shows_what_may_be_seen_when_it_comes(table: Table) -> None:
    """Rights that are others than those by which it was asked for decide anew, and the answer is of the new ones."""
    world = WebWorld()
    told = answered(200, body=b"abc")
    world.ask("/shaped")
    world.allow()
    asked = len(table.asked)
    assert head(world.reply(told).down)[2] == b"cba"
    assert len(table.asked) == asked + 1
    world.ask("/shaped")
    world.policies.current = TablePolicy([], revision="r2")
    assert status(world.reply(told).down) == 403
    assert world.ended is None
    world.allow()
    world.ask("/shaped", token="alice.60")
    world.advance(61)
    seen = world.reply(told)
    assert (status(seen.down), b"cba" in seen.down) == (401, False)


# ---- long bodies --------------------------------------------------------------------------------------------------

LONG = BODY_BYTES_MAX + 1


def upload(world: WebWorld, *, chunked: bool = False, **headers: str) -> Seen:
    """The head of a request with a long body."""
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(LONG)}
    return world.send(request("/file", "POST", Authorization="Bearer alice", **framing, **headers))


def test_a_program_passes_as_it_comes_and_takes_no_memory() -> None:
    world = WebWorld()
    seen = upload(world)
    assert b"content-length: %d\r\n" % LONG in seen.up
    went = 0
    while went < LONG:
        piece = min(100_000, LONG - went)
        assert world.send(b"x" * piece).up == b"x" * piece
        went += piece
        assert world.session.holds == 0
    assert world.session.parked, "the next request waits for this one's answer"
    assert status(world.reply(OK).down) == 200
    assert world.ask().up


def test_a_program_in_chunks_is_sent_on_in_chunks() -> None:
    world = WebWorld()
    assert b"transfer-encoding: chunked\r\n" in upload(world, chunked=True, Expect="100-continue").up
    assert world.send(b"3\r\nabc\r\n").up == b"3\r\nabc\r\n"
    assert world.send(b"0\r\n\r\n").up == b"0\r\n\r\n"
    assert status(world.reply(OK).down) == 200
    assert world.ended is None


def test_a_short_program_is_held_whole_and_follows_redirects() -> None:
    world = WebWorld()
    data = request("/file", "POST", b"abc", Authorization="Bearer alice")
    assert not world.send(data[:-1]).up
    assert world.send(data[-1:]).up
    told = answered(307, f"Location: https://{WEB2.host}:{WEB2.port}/file")
    assert world.reply(told).up.endswith(b"abc")


@pytest.mark.parametrize(
    "way", ["rights", "rights at its end", "token", "token at its end", "length", "redirect", "refused", "lost", "slow"]
)
def test_an_upload_that_ends_early_is_never_whole_at_the_broker(way: str) -> None:
    """What stands between its first octet and its last ends it; the broker's connection goes, and no other gets it."""
    world = WebWorld(limits=Limits(upload_bytes_max=LONG))
    seen = world.send(
        request("/file", "POST", Authorization="Bearer alice.60", **{"Transfer-Encoding": "chunked"}) + b"3\r\nabc\r\n"
    )
    assert seen.up.endswith(b"abc\r\n")
    last = b"0\r\n\r\n" if way.endswith("end") else b""
    if way.startswith("rights"):
        world.policies.current = TablePolicy([], revision="r2")
        seen = world.send(last or b"3\r\ndef\r\n3\r\nghi\r\n")
        wanted = 403
    elif way.startswith("token"):
        for _ in range(3):
            world.advance(19)
            world.send(b"1\r\nx\r\n")
        world.advance(4)
        seen = world.send(last or b"3\r\ndef\r\n")
        wanted = 401
    elif way == "length":
        seen = world.send(b"100001\r\n" + b"x" * LONG)
        wanted = 413
    elif way == "redirect":
        seen = world.reply(answered(307, f"Location: https://{WEB2.host}:{WEB2.port}/file"))
        wanted = 503
    elif way == "refused":
        seen = world.reply(answered(409, body=b"{}"))
        wanted = 409
    elif way == "lost":
        seen = world.lose()
        wanted = 502
    else:
        seen = world.advance(31)
        wanted = 408
    assert b"0\r\n\r\n" not in seen.up
    assert status(seen.down) == wanted
    assert world.parted == (way not in {"lost", "slow"}), "the broker's connection"
    if way == "rights at its end":  # the body is over: the client's connection can go on
        return
    assert world.ended is not None, "what follows of the body would be the next request"
    assert not world.send(b"0\r\n\r\n").up


def test_an_upload_is_held_back_by_its_principals_rate() -> None:
    world = WebWorld(quota=replace(PLENTY, produce_bytes=1000.0))
    upload(world)
    assert world.send(b"x" * 5000).up
    assert not world.send(b"x" * 5000).up
    assert world.held_until > world.clock.now
    assert world.advance(9).up


def test_an_upload_by_http2() -> None:
    """Its length is not said: it goes on in chunks, within the window that the client was given for it."""
    world = WebWorld(alpn="h2")
    asked = world.client.ask(1, "/file", "POST", b"", authorization="Bearer alice")
    assert b"transfer-encoding: chunked" in world.carry(asked).up
    for _ in range(20):
        world.client.h2.send_data(1, bytes(5000))
        assert world.carry().up == b"1388\r\n" + bytes(5000) + b"\r\n"
    world.client.h2.end_stream(1)
    assert world.carry().up == b"0\r\n\r\n"
    world.heard(world.reply(OK))
    assert world.client.headers[1][":status"] == "200"


def test_an_upload_by_http2_does_not_end_well_without_rights() -> None:
    world = WebWorld(alpn="h2")
    world.carry(world.client.ask(1, "/file", "POST", b"", authorization="Bearer alice"))
    world.client.h2.send_data(1, b"abc")
    assert world.carry().up
    world.policies.current = TablePolicy([], revision="r2")
    world.client.h2.end_stream(1)
    assert not world.carry().up
    assert world.client.headers[1][":status"] == "403"


def test_a_request_is_counted_once() -> None:
    world = WebWorld()
    world.ask()
    world.reply(OK)
    counted = world.pulsar.meters.cell(meters.REQUESTS, world.pulsar.backend.name, "GET /open", "2xx")
    assert counted.value == 1


# ---- what is held -------------------------------------------------------------------------------------------------


def test_what_is_held_is_said_before_it_comes() -> None:
    """A body of a stated length from its head on, one without in steps; answers that are rewritten likewise."""
    world = WebWorld()
    world.send(request("/body", "PUT", bytes(50_000), Authorization="Bearer alice")[:-49_000])
    assert world.session.holds == 50_000
    assert world.send(bytes(49_000)).up
    assert world.session.holds == 50_000, "it may have to be sent again"
    world.reply(OK)
    assert world.session.holds == 0
    world.send(request("/body", "PUT", Authorization="Bearer alice", **{"Transfer-Encoding": "chunked"}))
    assert world.session.holds == HELD_STEP
    world.send(b"3\r\nabc\r\n0\r\n\r\n")
    assert world.session.holds == 3
    world.reply(OK)
    world.ask("/shaped")
    world.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
    assert world.session.holds == 300_000
    world.reply(bytes(300_000))
    assert world.session.holds == 0
    world.ask("/shaped")
    world.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert world.session.holds == HELD_STEP


def test_bodies_that_wait_their_turn_are_held_too() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1)
    world.stream(3, "/body", bytes(10_000))
    world.stream(5, "/body", bytes(5_000))
    assert world.session.holds == 15_000


def test_continue_is_told_when_the_body_is_wanted() -> None:
    world = WebWorld()
    told = {"Authorization": "Bearer alice", "Expect": "100-continue", "Content-Length": "2"}
    assert world.send(request("/body", "PUT", **told)).down == b"HTTP/1.1 100 \r\n\r\n"
    assert world.send(b"ab").up
    refused = WebWorld([])
    seen = refused.send(request("/body", "PUT", **told))
    assert status(seen.down) == 403
    assert seen.close is not None


def test_pipelined_requests_are_answered_one_after_another() -> None:
    world = WebWorld()
    asked = request("/open?1", Authorization="Bearer alice") + request("/open?2", Authorization="Bearer alice")
    seen = world.send(asked)
    assert seen.up.count(b"GET") == 1
    seen = world.reply(OK)
    assert status(seen.down) == 200
    assert b"GET /open?2 " in seen.up


def test_rates_hold_back_the_next_request() -> None:
    world = WebWorld(quota=replace(PLENTY, requests=1.0))
    world.ask()
    world.reply(OK)
    world.ask()
    world.reply(OK)
    assert not world.ask().up
    assert world.held_until > world.clock.now
    assert world.advance(2).up


# ---- brokers ------------------------------------------------------------------------------------------------------


def test_a_brokers_headers_pass_by_a_list() -> None:
    world = WebWorld()
    world.ask()
    told = ["Server: Jetty", "Set-Cookie: a=b", "Location: https://b", "X-Pulsar-property-a: b", "ETag: c"]
    _, headers, body = head(world.reply(answered(200, *told, body=b"abc")).down)
    assert headers == {b"x-pulsar-property-a": b"b", b"etag": b"c", b"content-length": b"3"}
    assert body == b"abc"


def test_a_kept_connection_serves_the_next_request() -> None:
    world = WebWorld()
    world.ask()
    world.reply(OK)
    world.ask()
    assert world.parted == 0
    world.reply(answered(200, "Connection: close"))
    assert world.parted == 1
    world.ask()
    assert status(world.reply(OK).down) == 200


def test_what_nobody_asked_for_ends_the_brokers_connection_alone() -> None:
    world = WebWorld()
    world.ask()
    world.reply(OK)
    assert not world.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").down
    assert world.parted == 1
    world.ask()
    assert world.reply(OK + b"more").down.endswith(b"[]")
    assert world.parted == 2
    assert world.ended is None


def test_a_redirect_is_followed_to_a_broker_that_is_known() -> None:
    world = WebWorld()
    world.ask("/body?x=1", "PUT", b"abc")
    at = f"https://{WEB1.host}:{WEB1.port}"
    seen = world.reply(answered(307, f"Location: {at}/body?x=1&authoritative=true&evil=1"))
    assert not seen.down
    assert world.parted == 1
    assert world.session.upstream_endpoint() == WEB1
    first, headers, body = head(seen.up)
    assert first == b"PUT /body?x=1&authoritative=true HTTP/1.1"
    assert (headers[b"host"], headers[b"x-original-principal"]) == (b"broker1.internal:8443", b"alice")
    assert body == b"abc"
    assert status(world.reply(OK).down) == 200


@pytest.mark.parametrize("framing", ["body", "no body", "half a head"])
def test_what_stands_behind_a_redirect_is_not_the_next_brokers_answer(framing: str) -> None:
    world = WebWorld()
    world.ask()
    at = f"Location: https://{WEB2.host}:{WEB2.port}/open"
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nforge"
    old = {
        "body": answered(307, at, body=forged),
        "no body": f"HTTP/1.1 307 Words\r\n{at}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        "half a head": answered(307, at) + forged[:20],
    }[framing]
    assert world.session.answer(memoryview(old)) == len(old), "nothing is left to stand before the new one's"
    seen = world._take()
    assert seen.up
    assert not seen.down
    seen = world.reply(OK)
    assert status(seen.down) == 200
    assert seen.down.endswith(b"[]")


def test_what_stands_behind_an_answer_is_not_the_next_requests() -> None:
    world = WebWorld()
    asked = request("/open?1", Authorization="Bearer alice") + request("/open?2", Authorization="Bearer alice")
    world.send(asked)
    old = b"HTTP/1.1 204 Words\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nforge"
    assert world.session.answer(memoryview(old)) == len(old)
    seen = world._take()
    assert status(seen.down) == 204
    seen += world._show()
    assert world.parted == 1
    assert b"GET /open?2 " in seen.up
    assert world.reply(OK).down.endswith(b"[]")


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.test:8443/open", "https://broker1.internal:9999/open", "http://broker1.internal:8443/open",
        "https://broker1.internal:8443/admin", "https://broker1.internal:8443@evil.test:8443/open", "/open",
        "//broker1.internal:8443/open", "https://x.b.internal:8443/open", "https://b.internal:8443/open",
        "https://a.x.brokers.internal:8443/open",
    ],
)  # fmt: skip
def test_no_other_redirect_is(location: str) -> None:
    world = WebWorld(patterns=(Endpoint("*.brokers.internal", 8443),))
    world.ask()
    seen = world.reply(answered(307, f"Location: {location}"))
    assert status(seen.down) == 502
    assert not seen.up
    assert location.encode() not in seen.down
    assert world.ended is None


def test_a_pattern_makes_brokers_known() -> None:
    world = WebWorld(patterns=(Endpoint("*.brokers.internal", 8443),))
    world.ask()
    assert world.reply(answered(307, "Location: https://b7.brokers.internal:8443/open")).up
    assert world.session.upstream_endpoint() == Endpoint("b7.brokers.internal", 8443)


def test_redirects_have_an_end() -> None:
    world = WebWorld()
    world.ask()
    for hop in range(REDIRECTS_MAX):
        there = (WEB1, WEB2)[hop % 2]
        assert world.reply(answered(307, f"Location: https://{there.host}:{there.port}/open")).up
    assert status(world.reply(answered(307, f"Location: https://{WEB1.host}:8443/open")).down) == 502


@pytest.mark.parametrize("code", [301, 302, 303, 308, 401])
def test_answers_that_are_for_the_gateway_stay_here(code: int) -> None:
    world = WebWorld()
    world.ask()
    seen = world.reply(answered(code, "Location: https://broker1.internal:8443/", "WWW-Authenticate: Basic"))
    assert status(seen.down) == 502
    assert b"internal" not in seen.down
    assert world.ended is None


DENIAL = b'{"reason":"Unauthorized to produce"}'


@pytest.mark.parametrize("route", ["/open", "/shaped"])
def test_a_denial_of_the_brokers_own_is_the_clients(route: str) -> None:
    """Pulsar denies most routes by 401, with words; what it says of the gateway's own credential has others."""
    world = WebWorld()
    world.ask(route)
    seen = world.reply(answered(401, body=DENIAL))
    assert status(seen.down) == 401
    assert seen.down.endswith(DENIAL)
    assert b"www-authenticate" in seen.down.lower()
    world.ask(route)
    refused = b'{"servlet":"org.glassfish.jersey.servlet.ServletContainer","message":"Authentication required"}'
    for body in (refused, b"", b"[]", b'{"reason":1}', b"<html>"):
        assert status(world.reply(answered(401, body=body)).down) == 502
        world.ask(route)
    assert world.ended is None


def test_of_a_denial_without_a_body_nobody_knows_whose_it_is() -> None:
    world = WebWorld()
    world.ask("/open", "HEAD")
    assert status(world.reply(answered(401)).down) == 502


def test_a_broker_that_cannot_be_dialled_has_others_beside_it() -> None:
    world = WebWorld()
    world.ask("/body", "PUT", b"abc")
    assert world.lose(reached=False).up, "nothing of it was sent yet"
    assert status(world.lose(reached=False).down) == 502
    assert world.ended is None


def test_a_request_that_may_have_been_done_is_not_done_twice() -> None:
    world = WebWorld()
    world.ask("/body", "PUT", b"abc")
    seen = world.lose()
    assert status(seen.down) == 502
    assert not seen.up


def test_a_reading_request_is_sent_again_when_a_kept_connection_had_gone() -> None:
    world = WebWorld()
    world.ask()
    world.session.upstream_proven(0.0)  # type: ignore[attr-defined]
    world.reply(OK)
    world.ask()
    assert world.lose().up
    assert status(world.lose().down) == 502


def test_an_answer_that_breaks_off_is_not_whole_for_the_client() -> None:
    world = WebWorld()
    world.ask()
    seen = world.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    assert seen.down.endswith(b"half")
    seen = world.lose()
    assert not seen.down
    assert seen.close is not None


def test_a_brokers_answer_that_cannot_be_read() -> None:
    world = WebWorld()
    world.ask()
    seen = world.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    assert status(seen.down) == 502
    assert world.parted == 1
    assert world.ask().up


def test_answers_are_shaped_whole() -> None:
    world = WebWorld()
    world.ask("/shaped")
    assert not world.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").down
    _, headers, body = head(world.reply(b"0\r\n\r\n").down)
    assert (headers[b"content-length"], body) == (b"3", b"cba")
    world.ask("/shaped")
    assert status(world.reply(answered(200, body=b"bad")).down) == 502
    world.ask("/shaped")
    piece = bytes(1 << 20)
    world.reply(f"HTTP/1.1 200 OK\r\nContent-Length: {SHAPED_BYTES_MAX + len(piece)}\r\n\r\n".encode())
    seen = world.reply(*[piece] * (SHAPED_BYTES_MAX // len(piece) + 1), chunk=len(piece))
    assert status(seen.down) == 502


def test_head_requests_have_no_body() -> None:
    world = WebWorld()
    world.ask("/open", "HEAD")
    seen = world.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
    assert b"content-length: 77" in seen.down
    assert not world.session.parked


# ---- time ---------------------------------------------------------------------------------------------------------


def test_a_body_that_trickles_is_not_waited_for() -> None:
    world = WebWorld()
    world.send(request("/body", "PUT", b"x" * 50, Authorization="Bearer alice")[:-30])
    for _ in range(4):
        world.advance(7)
        world.send(b"x")
    seen = world.advance(7)
    assert status(seen.down) == 408
    assert seen.close is not None
    assert seen.close.reason is web_reasons.HTTP_REQUEST_TIMEOUT


def test_headers_that_trickle_are_not_waited_for() -> None:
    world = WebWorld()
    world.ask()
    world.reply(OK)
    data = request("/open")
    for at in range(8):
        world.send(data[at : at + 1])
        if world.ended is None:
            world.advance(7)
    assert world.ended is not None
    assert world.ended.reason is web_reasons.HTTP_REQUEST_TIMEOUT


def test_a_broker_that_does_not_answer() -> None:
    world = WebWorld()
    world.ask()
    seen = world.advance(ANSWER_SECONDS_MAX)
    assert status(seen.down) == 504
    assert seen.close is not None
    assert seen.close.reason is web_reasons.HTTP_ANSWER_TIMEOUT


def test_garbage_is_answered_and_ends_its_connection() -> None:
    seen = WebWorld().send(b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert status(seen.down) == 400
    assert seen.close is not None
    assert seen.close.reason is http_reasons.HTTP_MALFORMED


# ---- HTTP/2 -------------------------------------------------------------------------------------------------------


def test_streams_are_served_one_after_another() -> None:
    world = WebWorld(alpn="h2")
    first = world.stream(1, "/open?1")
    second = world.stream(3, "/open?2")
    assert first.up.startswith(b"GET /open?1 ")
    assert not second.up
    assert not world.session.parked
    seen = world.heard(world.reply(OK))
    assert seen.up.startswith(b"GET /open?2 ")
    world.heard(world.reply(answered(200, body=b"abc")))
    assert (world.client.bodies[1], world.client.bodies[3]) == (b"[]", b"abc")
    assert world.client.headers[3][":status"] == "200"
    assert world.client.ended == {1, 3}


def test_frames_of_nobody_wait_while_a_key_is_awaited() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1, "/body", body=b"", authorization="Bearer newkey")
    assert world.session.parked
    assert world.session.receive(memoryview(frame(DATA, b"x", 0, 1))) == 0
    world.tokens.keys_come = True
    world.tell(KeysRefreshed("corp"))
    assert not world.session.parked
    world.client.h2.send_data(1, b"abc", end_stream=True)
    assert head(world.carry().up)[2] == b"abc"


def test_a_body_by_http2() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1, "/body", body=b"")
    sent = b""
    while len(sent) < 90_000:
        part = bytes(min(world.client.h2.local_flow_control_window(1), 16384, 90_000 - len(sent)))
        world.client.h2.send_data(1, part)
        sent += part
        assert not world.carry().up
    world.client.h2.end_stream(1)
    _, headers, body = head(world.carry().up)
    assert (headers[b"content-length"], len(body)) == (b"90000", 90_000)


def test_a_request_taken_back_is_not_asked_or_not_answered() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1)
    world.stream(3, "/open?3")
    world.client.h2.reset_stream(3)
    world.carry()
    world.client.h2.reset_stream(1)
    world.carry()
    seen = world.heard(world.reply(OK))
    assert not seen.up
    assert world.client.headers == {}
    assert world.ended is None
    assert world.stream(5).up


def test_an_answer_waits_for_the_clients_window_and_not_for_ever() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1)
    seen = world.reply(f"HTTP/1.1 200 OK\r\nContent-Length: {300_000}\r\n\r\n".encode() + bytes(300_000))
    assert len(seen.down) < 70_000
    assert len(world.unanswered) > 200_000, "the rest is left with the broker"
    world.client.take(seen.down, acknowledge=False)
    seen = world.advance(world.limits.frame_timeout)
    assert seen.close is not None
    assert seen.close.reason is web_reasons.HTTP_REQUEST_TIMEOUT


def test_a_long_answer_comes_as_the_client_takes_it() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1)
    world.heard(world.reply(f"HTTP/1.1 200 OK\r\nContent-Length: {300_000}\r\n\r\n".encode() + bytes(300_000)))
    for _ in range(100):
        world.carry()
        world.heard(world.reply(b""))
        if world.unanswered:
            world.heard(world._answered())
    assert len(world.client.bodies[1]) == 300_000
    assert 1 in world.client.ended


def test_a_failed_login_ends_the_connection_with_goaway() -> None:
    world = WebWorld(alpn="h2")
    seen = world.stream(1, authorization="Bearer bad")
    assert world.client.headers[1][":status"] == "401"
    assert world.client.gone == 0
    assert seen.close is not None


def test_an_answer_that_breaks_off_resets_its_stream_alone() -> None:
    world = WebWorld(alpn="h2")
    world.stream(1)
    world.heard(world.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
    world.heard(world.lose())
    world.carry(b"")
    assert 1 in world.client.reset
    assert world.ended is None
    assert world.stream(3).up


def test_what_is_no_http2_is_told_so() -> None:
    world = WebWorld(alpn="h2")
    seen = world.send(request("/open"))
    assert seen.close is not None
    assert seen.close.reason is http_reasons.HTTP_MALFORMED


LISTED = bytes(range(48, 123)) * 4000
"""More than is rewritten at once (core.slices.AT_ONCE_OCTETS)."""


def slowly(world: WebWorld) -> None:
    """Every slice is over at its first look at the clock."""
    world.pulsar.walks.seconds, world.pulsar.walks.elements = 0.0, 1000


def turns(world: WebWorld) -> Seen:
    """All that comes of the connection's turns, until none is wanted; meanwhile nothing else is looked at."""
    seen = Seen()
    while world.busy:
        assert world.busy == "upstream"
        world.session.answer(memoryview(b""))
        seen += world._take()
    return seen


@pytest.mark.parametrize("whole", [True, False])
def test_a_long_list_is_rewritten_and_told_in_turns(whole: bool) -> None:
    world = WebWorld()
    slowly(world)
    world.ask("/shaped")
    if whole:
        world.session.answer(memoryview(answered(200, body=LISTED)))
    else:
        said = answered(200, body=LISTED)
        for at in range(0, len(said), 1000):
            assert not world.busy
            world.session.answer(memoryview(said[at : at + 1000]))
    first = world._take()
    assert world.busy == "upstream"
    assert not first.down
    assert world.session.holds >= len(LISTED)  # type: ignore[attr-defined]
    seen = turns(world)
    assert (status(seen.down), seen.down.endswith(b"\r\n\r\n" + LISTED[::-1])) == (200, True)
    assert world.session.holds == 0  # type: ignore[attr-defined]
    assert world.pulsar.walks.taken == 0
    world.ask("/open")
    assert status(world.reply(answered(204)).down) == 204


def test_what_stands_behind_a_long_list_is_nobodys_answer() -> None:
    world = WebWorld()
    slowly(world)
    world.ask("/shaped")
    said = memoryview(answered(200, body=LISTED) + answered(200, body=b"more"))
    taken = world.session.answer(said)
    while world.busy:
        taken += world.session.answer(said[taken:])
    seen = world._take()
    assert taken == len(said)
    assert seen.down.count(b"HTTP/1.1") == 1
    assert world.parted == 1


def test_a_long_list_by_rights_that_changed_meanwhile_is_begun_anew(table: Table) -> None:
    world = WebWorld()
    slowly(world)
    world.ask("/shaped")
    world.session.answer(memoryview(answered(200, body=LISTED)))
    world.session.answer(memoryview(b""))
    asked = len(table.asked)
    world.policies.current = TablePolicy(OF_APP, revision="r2")
    seen = turns(world)
    assert seen.down.endswith(LISTED[::-1])
    assert len(table.asked) == asked + 1, "decided by the new rights"


def test_a_connection_that_ends_gives_its_long_list_up() -> None:
    world = WebWorld()
    slowly(world)
    world.ask("/shaped")
    world.session.answer(memoryview(answered(200, body=LISTED)))
    assert world.pulsar.walks.taken == 1
    world.session.closed(reasons.SESSION_EXPIRED, "")
    assert (world.pulsar.walks.taken, world.busy) == (0, "")


def test_without_a_place_a_long_list_waits_for_one() -> None:
    world = WebWorld()
    slowly(world)
    other = Principal("token", "corp", "somebody")
    places = [world.pulsar.walks.begin(Principal("token", "corp", str(n)), world.clock, int) for n in range(WALKS_MAX)]
    assert world.pulsar.walks.begin(other, world.clock, int) is None
    world.ask("/shaped")
    world.session.answer(memoryview(answered(200, body=LISTED)))
    for _ in range(3):
        world.session.answer(memoryview(b""))
    assert not world._take().down
    assert places[0] is not None
    places[0].stop()
    assert turns(world).down.endswith(LISTED[::-1])

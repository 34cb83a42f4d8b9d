"""Messages whose front goes on before the frame is whole: what is decided, charged, kept back and cut off, in both
forms of the short way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from gateway.core.identity import Identity
from gateway.core.rights import Quota
from gateway.core.session import Close
from gateway.core.settings import Limits
from gateway.pulsar import commands, hot, meters, reasons
from gateway.pulsar.keepalive import PING_SECONDS
from gateway.pulsar.session import KEPT_BACK_MAX
from tests.forms import PULSAR_FORMS
from tests.property.pulsar_ways import ShortPulsar, whole
from tests.property.short_ways import PUMP, SESSION
from tests.scenarios.kafka_world import PLENTY, Seen, TablePolicy, TableRights
from tests.scenarios.pulsar_world import OF_APP, ORDERS, message_frame, names, only, send_frame

pytestmark = [pytest.mark.parametrize("form", PULSAR_FORMS), pytest.mark.parametrize("way", [SESSION, PUMP])]
OTHER = "persistent://public/default/other"
TO_OTHER = ("topic", "Produce", OTHER)
LONG = send_frame(payload=bytes(5000))
TOLD = message_frame(payload=bytes(5000))
CUT = 1000
PING, PONG = commands.framed("ping"), commands.framed("pong")
TO_ORDERS: Collection[tuple[str, str, str]] = [("topic", "Produce", ORDERS), ("topic", "Consume", ORDERS)]


def opened(way: str, form: hot.Form, **settings: Any) -> ShortPulsar:
    """A producer and a consumer of orders, both of id 1; a producer of another topic, 2."""
    world = ShortPulsar(way, form.short_way, allowed=(*OF_APP, TO_OTHER), **settings)
    world.login()
    world.produce_to()
    world.subscribe_to()
    world.produce_to(OTHER, producer=2, request=3)
    world.tally.drain(0.0)
    list(world.tally.drain(0.0))
    return world


def sums(world: ShortPulsar, operation: str) -> list[tuple[Any, ...]]:
    found = [dict(event.fields) for event in world.tally.drain(0.0)]
    return [(each["requests"], each["bytes"]) for each in found if each["operation"] == operation]


def test_the_front_of_a_message_goes_on_and_its_rest_as_it_comes(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    head = 8 + commands.sizes(memoryview(LONG), 0)[1]
    assert world.send(LONG[: head - 1]).up == b""
    assert world.session.client_wanted == head, "its command"
    assert world.send(LONG[head - 1 : CUT]).up == LONG[:CUT]
    assert world.session.client_wanted == 1
    assert sums(world, "Produce") == [(1, len(LONG))], "all of it is counted with its front"
    assert b"".join(world.send(LONG[at : at + 1]).up for at in range(CUT, CUT + 50)) == LONG[CUT : CUT + 50]
    assert world.send(LONG[CUT + 50 :] + LONG[:CUT]).up == LONG[CUT + 50 :] + LONG[:CUT]
    assert world.send(LONG[CUT:] + send_frame(9)).up == LONG[CUT:], "and no other's behind it"
    assert world.session.client_wanted == 8


def test_a_message_for_nobody_does_not_begin(way: str, form: hot.Form) -> None:
    for frame in (send_frame(9, payload=bytes(5000)), send_frame(marker=True, payload=bytes(5000))):
        world = opened(way, form)
        assert world.send(frame[:CUT]).up == b""
        assert world.session.client_wanted == len(frame)
        assert world.session.short_way.sending is None
    assert world.reply(message_frame(9, payload=bytes(5000))[:CUT]).down == b""
    assert world.session.upstream_wanted == len(message_frame(9, payload=bytes(5000)))


def test_a_right_that_is_withdrawn_within_a_message_ends_the_connection(way: str, form: hot.Form) -> None:
    for frame, send in ((LONG, True), (TOLD, False)):
        world = opened(way, form)
        come: Callable[[bytes], Seen] = world.send if send else world.reply
        come(frame[:CUT])
        world.allow(TO_OTHER, without=TO_ORDERS)
        seen = come(frame[CUT:])
        assert seen.close == Close(reasons.WITHDRAWN_WITHIN_MESSAGE, "producer" if send else "consumer")
        assert (seen.up if send else seen.down) == b"", "nothing of it, and nothing within it"
        assert set(names(seen.down if send else seen.up)) == {"close_producer", "close_consumer"}
        assert world.lines("denied")


def test_a_right_that_is_withdrawn_shows_in_whatever_comes_next(way: str, form: hot.Form) -> None:
    """The other side's octets, or the clock's."""
    happens: list[Callable[[ShortPulsar], Seen]] = [lambda world: world.reply(PONG), lambda world: world.advance(40.0)]
    for happen in happens:
        world = opened(way, form)
        world.send(LONG[:CUT])
        world.allow(TO_OTHER, without=TO_ORDERS)
        seen = happen(world)
        assert seen.close is not None
        assert seen.close.reason is reasons.WITHDRAWN_WITHIN_MESSAGE
        assert seen.up == b""


def test_a_message_is_not_completed_behind_its_sessions_end(way: str, form: hot.Form) -> None:
    world = ShortPulsar(way, form.short_way)
    world.login("alice.60")
    world.produce_to()
    world.send(LONG[:CUT])
    world.clock.now += 61.0
    seen = world.send(LONG[CUT:])
    assert seen.close is not None
    assert seen.close.reason in (reasons.SESSION_EXPIRED, reasons.AUTHENTICATION_UNANSWERED)
    assert seen.up == b""


def test_another_right_that_is_withdrawn_is_told_behind_the_message(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    world.send(LONG[:CUT])
    world.allow()
    seen = world.send(LONG[CUT:-1])
    assert seen.up == LONG[CUT:-1], "it goes on"
    assert only(seen.down).producer_id == 2
    seen = world.send(LONG[-1:] + send_frame(2) + LONG)
    assert seen.up.startswith(LONG[-1:])
    assert names(seen.up[1:]) == ["close_producer", "send"]
    assert seen.up.endswith(LONG)


def test_what_the_gateway_says_to_a_broker_stands_behind_the_message(way: str, form: hot.Form) -> None:
    """The answer to its PING, and a PING after a long silence."""
    world = opened(way, form, limits=Limits(frame_timeout=60.0))
    world.send(LONG[:CUT])
    assert world.reply(PING).up == b""
    assert world.advance(35.0).up == b""
    assert world.send(LONG[CUT:-1]).up == LONG[CUT:-1]
    seen = world.send(LONG[-1:] + LONG)
    assert names(seen.up[1 : -len(LONG)]) == ["pong", "ping"]
    assert (seen.up[:1], seen.up[-len(LONG) :]) == (LONG[-1:], LONG)
    assert world.reply(PING).up == PONG, "nothing is kept back any more"


def test_what_the_gateway_says_to_a_client_stands_behind_the_message(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    world.reply(TOLD[:CUT])
    assert not world.session.idle, "it is owed its end"
    assert world.send(PING).down == b""
    denied = world.ask("lookup", topic="persistent://public/default/payroll", request_id=9)
    assert (denied.up, denied.down) == (b"", b"")
    assert world.reply(TOLD[CUT:-1]).down == TOLD[CUT:-1]
    seen = world.reply(TOLD[-1:] + TOLD)
    assert names(seen.down[1 : -len(TOLD)]) == ["pong", "lookup_response"]
    assert (seen.down[:1], seen.down[-len(TOLD) :]) == (TOLD[-1:], TOLD)
    assert world.session.idle
    assert world.send(PING).down == PONG


def test_only_so_much_is_kept_back(way: str, form: hot.Form) -> None:
    """Whoever asks on meanwhile is not read; what the broker asks waits where it is."""
    world = opened(way, form)
    world.reply(TOLD[:CUT])
    world.send(PING * KEPT_BACK_MAX)
    assert world.session.parked
    world.send(PING * 10)
    assert world.unread == PING * 10
    assert world.reply(TOLD[CUT:]).down == TOLD[CUT:] + PONG * (KEPT_BACK_MAX + 10)
    assert not world.session.parked
    world.send(LONG[:CUT])
    world.reply(PING * KEPT_BACK_MAX)
    world.reply(PING * 10)
    assert world.unanswered == PING * 10
    assert world.send(LONG[CUT:]).up == LONG[CUT:] + PONG * KEPT_BACK_MAX
    assert world.reply(PING).up == PONG * 11


def test_a_producer_that_the_broker_closes_meanwhile_has_its_message_completed(way: str, form: hot.Form) -> None:
    """Topics move from broker to broker; what is sent for it the broker drops itself."""
    world = opened(way, form)
    world.send(LONG[:CUT])
    assert names(world.say("close_producer", producer_id=1, request_id=2**64 - 1).down) == ["close_producer"]
    seen = world.send(LONG[CUT:] + LONG)
    assert (seen.up, seen.close) == (LONG[CUT:], None)


def test_a_message_is_charged_once_and_held_back_by_nobody(way: str, form: hot.Form) -> None:
    """Debts that another connection makes meanwhile hold back what comes behind it."""
    world = opened(way, form, quota=Quota(produce_bytes=20_000.0, consume_bytes=1e6, requests=100.0, connections=9))
    world.send(LONG[:CUT])
    account: Any = world.session._account  # type: ignore[attr-defined]
    assert account.used[1] == len(LONG)
    account.produce(40_000, world.clock.now)
    seen = world.send(LONG[CUT:] + LONG)
    assert seen.up == LONG[CUT:]
    assert seen.mute_until > world.clock.now
    assert account.used[1] == len(LONG) + 40_000
    assert world.advance(10.0).up == LONG


def test_what_is_more_than_is_left_waits_until_it_is_whole(way: str, form: hot.Form) -> None:
    """As ever: it passes, and its debt is waited for."""
    world = opened(way, form, quota=Quota(produce_bytes=4000.0, consume_bytes=4000.0, requests=100.0, connections=9))
    assert world.send(LONG[:CUT]).up == b""
    assert world.session.client_wanted == len(LONG)
    assert world.send(LONG[CUT:]).up == LONG
    assert world.send(LONG).mute_until > world.clock.now
    assert world.reply(TOLD[:CUT]).down == b""
    assert world.reply(TOLD[CUT:]).down == TOLD


def test_what_is_larger_than_a_frame_may_be(way: str, form: hot.Form) -> None:
    world = opened(way, form, limits=Limits(frame_bytes_max=4096))
    assert world.send(LONG[:CUT]).close == Close(reasons.FRAME_TOO_LARGE, f"{len(LONG) - 4} bytes")
    world = opened(way, form, limits=Limits(frame_bytes_max=4096))
    assert world.reply(TOLD[:CUT]).close == Close(reasons.UPSTREAM_FRAME_TOO_LARGE, f"{len(TOLD) - 4} bytes")


class LessLater(TablePolicy):
    """All of it for tokens that last; those of a minute may not produce to orders."""

    def rights(self, identity: Identity, backend: str, wall: float) -> TableRights:
        if identity.expires_at - wall > 100:
            return super().rights(identity, backend, wall)
        return TableRights(frozenset(OF_APP) - set(TO_ORDERS), PLENTY, "r1")


def test_fewer_rights_that_a_new_token_in_the_same_chunk_brings(way: str, form: hot.Form) -> None:
    """What stands behind it is decided by what it brought, in front and behind."""
    world = ShortPulsar(way, form.short_way)
    world.policies.current = LessLater(OF_APP)
    world.login("alice.110")
    world.produce_to()
    for _ in range(2):
        asked = world.advance(28.0)
        world.reply(PONG)
        world.send(PONG)
    assert names(asked.down) == ["auth_challenge"]
    fresh = commands.framed("auth_response", response={"auth_data": b"alice.60", "auth_method_name": "token"})
    seen = world.send(send_frame() + fresh + send_frame() + LONG[:CUT])
    assert names(seen.up) == ["send", "close_producer"]
    assert names(world.send(LONG[CUT:]).up) == []


def test_a_message_that_drips_ends(way: str, form: hot.Form) -> None:
    """Each octet is a sign of life; that the message comes to an end is asked for besides."""
    world = opened(way, form)
    world.send(LONG[:CUT])
    sent = CUT
    while world.ended is None:
        assert sent < CUT + 20
        world.advance(PING_SECONDS / 2)
        world.reply(PONG)
        if world.ended is None:
            world.send(LONG[sent : sent + 1])
            sent += 1
    assert world.ended == Close(reasons.MESSAGE_UNFINISHED, f"{len(LONG) - sent} bytes are missing")


def test_a_long_message_may_take_its_time(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    long = send_frame(payload=bytes(4 << 20))
    for at in range(0, len(long), 128 << 10):
        assert world.send(long[at : at + (128 << 10)]).up == long[at : at + (128 << 10)]
        world.advance(PING_SECONDS / 2)
        world.reply(PONG)
    assert world.ended is None
    for _ in range(8):
        world.advance(PING_SECONDS / 2)
        world.reply(PONG)
        world.send(PONG)
    assert world.ended is None


def test_acknowledgements_and_permits_go_by_their_consumer_alone(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    some = [
        commands.framed("flow", consumer_id=1, message_permits=500),
        commands.framed("ack", consumer_id=1, ack_type=1, request_id=7),
        commands.framed("ack", consumer_id=1, ack_type=0),
    ]
    nobodys = commands.framed("flow", consumer_id=9, message_permits=500)
    assert world.send(*some, nobodys, *some).up == b"".join(some * 2)
    counted = {labels: value for meter, labels, value in world.meters.series() if meter is meters.COMMANDS}
    assert counted["main", "flow"] == 3
    assert counted["main", "ack"] == 4
    world.ask("close_consumer", consumer_id=1, request_id=8)
    assert world.send(*some).up == b""
    dropped = {labels: value for meter, labels, value in world.meters.series() if meter is meters.DROPPED}
    assert dropped == {("main", "flow"): 2.0, ("main", "ack"): 2.0}


def test_an_acknowledgement_in_part_waits_and_one_with_a_payload_ends(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    ack = commands.framed("ack", consumer_id=1, ack_type=0)
    assert world.send(ack[:-1]).up == b""
    assert world.send(ack[-1:]).up == ack
    encoded = commands.make("ack", consumer_id=1, ack_type=0).encoded
    assert encoded is not None
    seen = world.send(b"".join(bytes(part) for part in commands.frame(encoded, b"more")))
    assert seen.close is not None
    assert seen.close.reason is reasons.REQUEST_MALFORMED


def test_nothing_goes_on_once_it_is_over(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    world.send(LONG[:CUT])
    world.session.closed(reasons.PEER_SILENT, "")
    short = world.session.short_way
    assert short.requests(memoryview(LONG[CUT:])) == short.answers(memoryview(TOLD)) == 0
    fresh = form.short_way(
        world.session, world.pulsar, world.session._from_client, world.session._from_upstream,  # type: ignore[attr-defined]
        world.session._client_alive, world.session._broker_alive,  # type: ignore[attr-defined]
    )  # fmt: skip
    assert fresh.requests(memoryview(LONG)) == fresh.answers(memoryview(TOLD)) == 0


def test_what_passes_by_the_pump_alone_is_a_sign_of_life(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    for _ in range(10):
        world.advance(20.0)
        assert world.send(LONG[:CUT]).up + world.send(LONG[CUT:]).up == LONG
        assert world.reply(TOLD).down == TOLD
    assert world.ended is None
    assert whole(b"".join([LONG, LONG[:5]])) == (LONG, LONG[:5])


def test_what_a_withdrawal_says_to_the_client_is_summed_once(way: str, form: hot.Form) -> None:
    world = opened(way, form)
    before = world.session._octets_out  # type: ignore[attr-defined]
    world.allow(TO_OTHER, without=TO_ORDERS)
    said = world.send(PING).down
    assert sorted(names(said)) == ["close_consumer", "close_producer", "pong"]
    world.session.closed(reasons.PEER_SILENT, "")
    assert world.events[-1].fields["bytes_out"] == before + len(said)

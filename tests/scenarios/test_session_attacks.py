"""What a client with a good token may not do to the gateway, or to others: floods, and requests made to cost much."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core import limits as core_limits
from gateway.core.audit import ALLOWED_KEYS_MAX
from gateway.core.identity import Principal
from gateway.core.rights import Quota
from gateway.kafka import answers, authorize, codec, traffic
from gateway.kafka.plan import TopicFacts, TopicFactsWanted, TopicsToCreate
from tests.scenarios.kafka_world import (
    GONE,
    PLENTY,
    World,
    authenticate,
    body_of,
    fetch,
    fetched,
    handshake,
    heartbeat,
    produce,
    produced,
    request,
    response,
)


def logged_in(*args: Any, **kwargs: Any) -> World:
    world = World(*args, **kwargs)
    world.login()
    return world


def beside(world: World, **kwargs: Any) -> World:
    """Another connection of the same principal."""
    other = World(quotas=world.quotas, **kwargs)
    other.clock.now = world.clock.now
    other.login()
    return other


# Rates hold on average, over all connections of a principal


def passed(world: World, frame: bytes, seconds: int) -> int:
    """How many of these requests go on while a client sends one a second."""
    found = 0
    for _ in range(seconds):
        found += len(world.send(frame).requests)
        found += len(world.advance(1.0).requests)
    return found


@pytest.mark.parametrize("acks", [-1, 0])
def test_a_flood_of_produce_is_held_to_its_rate(acks: int) -> None:
    """Each pause is short; the next Produce is not taken before the debt is paid all the same."""
    frame = produce(4, "a", acks=acks)
    world = logged_in(quota=Quota(len(frame) / 10.0, 1e9, 1e9, connections=9))
    assert 3 <= passed(world, frame, 40) <= 5


def test_one_connections_flood_holds_the_others_produce() -> None:
    frame = produce(4, "a")
    quota = Quota(len(frame) / 100.0, 1e9, 1e9, connections=9)
    world = logged_in(quota=quota)
    other = beside(world, quota=quota)
    assert world.send(frame).up == frame
    assert other.send(frame).up == b""
    assert other.advance(50.0).up == b""
    assert other.advance(51.0).up == frame


def test_whoever_comes_again_is_held_all_the_same() -> None:
    frame = produce(4, "a")
    quota = Quota(len(frame) / 100.0, 1e9, 1e9, connections=9)
    world = logged_in(quota=quota)
    world.send(frame)
    world.session.closed(GONE, "")
    assert beside(world, quota=quota).send(frame).up == b""


def test_a_debt_of_bytes_holds_no_heartbeat() -> None:
    frame = produce(4, "a")
    quota = Quota(len(frame) / 100.0, 1e9, 1e9, connections=9)
    world = logged_in(quota=quota)
    other = beside(world, quota=quota)
    world.send(frame)
    assert other.send(heartbeat(5)).up == heartbeat(5)
    assert other.send(fetch(6, "a")).up


def test_a_flood_of_fetches_is_held_to_its_rate() -> None:
    answer = fetched(4, "a")
    world = logged_in(quota=Quota(1e9, len(answer) / 10.0, 1e9, connections=9))
    found = 0
    for _ in range(40):
        asked = len(world.send(fetch(4, "a")).requests) + len(world.advance(1.0).requests)
        found += asked
        world.reply(*[answer] * asked)
    assert 3 <= found <= 5


def test_a_debt_of_consumed_bytes_holds_no_heartbeat() -> None:
    quota = Quota(1e9, 1.0, 1e9, connections=9)
    world = logged_in(quota=quota)
    other = beside(world, quota=quota)
    world.send(fetch(4, "a"))
    world.reply(fetched(4, "a"))
    assert other.send(heartbeat(5)).up == heartbeat(5)
    assert other.send(fetch(6, "a")).up == b""


def test_fetches_are_not_asked_for_in_advance() -> None:
    """What comes is only counted when it comes: so that no client asks for much before it is."""
    world = logged_in()
    most = answers.FETCHES_MAX
    seen = world.send(*(fetch(number, "a") for number in range(most + 3)))
    assert len(seen.requests) == most
    assert len(world.reply(fetched(0, "a")).requests) == 1


def test_a_flood_of_requests_is_held_to_its_rate() -> None:
    quota = Quota(1e9, 1e9, requests=0.1, connections=9)
    world = logged_in(quota=quota)
    others = [beside(world, quota=quota) for _ in range(5)]
    frame = request(3, 9, 4, {"topics": [{"name": "a"}]})
    found = 0
    for _ in range(60):
        for each in others:
            found += len(each.send(frame).requests) + len(each.advance(1.0).requests)
    assert 5 <= found <= 12


def test_sasl_again_and_again_is_charged() -> None:
    world = logged_in(quota=Quota(1e9, 1e9, requests=2.0, connections=9))
    seen = world.send(*(authenticate("alice", number) for number in range(10)))
    assert len(seen.answers) == 3
    assert seen.mute_until > world.clock.now


# Names made to fill memory


def test_overlong_names_are_not_remembered() -> None:
    world = logged_in((("topic", "Write", "*"), ("group", "Read", "*")))
    long = "x" * 20_000
    world.send(produce(4, long), heartbeat(5, group=long))
    fast = world.session._admission.traffic.fast  # type: ignore[union-attr]
    assert not fast.write_names
    assert max(len(str(event.fields["resource"])) for event in world.tally.drain(0.0)) < 400


def test_overlong_names_are_cut_in_the_audit() -> None:
    world = logged_in(())
    world.send(heartbeat(5, group="x" * 20_000))
    (line,) = world.lines("denied")
    assert len(str(line.fields["resource"])) < 400


# The audit of others


def test_a_flood_of_denials_does_not_fill_the_audit() -> None:
    """What is not written is counted, at the latest when the connection ends."""
    world = logged_in(())
    for number in range(1000):
        world.send(heartbeat(number, group=f"g{number}"))
    world.session.closed(GONE, "")
    lines = world.lines("denied")
    assert len(lines) < 110
    more = sum(int(str(line.fields.get("more", 0))) for line in lines)
    assert more + sum("more" not in line.fields for line in lines) == 1000


def test_naming_thousands_of_resources_does_not_hide_the_others() -> None:
    world = logged_in()
    for number in range(ALLOWED_KEYS_MAX + 10):
        world.tally.add(Principal("jwt", "corp", "mallory"), "kafka", "main", "Read", "group", f"g{number}")
    world.send(heartbeat(1, group="mine"))
    sums = {(str(event.principal), event.fields["resource"]): event for event in world.tally.drain(0.0)}
    assert ("jwt:corp:alice", "mine") in sums
    assert sums["jwt:corp:mallory", "*other*"].fields["requests"] > 1000  # type: ignore[operator]


# Requests made to cost much


def test_few_unknown_topic_ids_are_asked_for_at_once() -> None:
    world = logged_in()
    most = traffic.TOPICS_ASKED_MAX
    ids = [number.to_bytes(16, "big") for number in range(1, most + 101)]
    (ask,) = world.send(fetch(4, *ids, version=13)).asks
    assert isinstance(ask, TopicFactsWanted)
    assert len(ask.ids) == most
    seen = world.tell(TopicFacts({}, ask.ids, frozenset()))
    assert not seen.asks
    assert len(request_topics(seen.requests)) == 0


def request_topics(frames: list[bytes]) -> list[Any]:
    found = []
    for frame in frames:
        header = codec.parse_request_header(memoryview(frame))
        found += codec.decode_request(1, header.api_version, frame[header.body_offset :])["topics"]
    return found


def test_few_topics_are_created_at_once() -> None:
    world = logged_in((("topic", "Describe", "*"), ("topic", "Create", "*")))
    world.state.auto_create_topics = True
    most = traffic.TOPICS_ASKED_MAX
    names = [{"name": f"n{number}"} for number in range(most + 100)]
    (ask,) = world.send(request(3, 9, 4, {"topics": names, "allowAutoTopicCreation": True})).asks
    assert isinstance(ask, TopicsToCreate)
    assert len(ask.names) == most


def test_what_takes_long_to_decide_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes more than a share of the gateway's own time, whatever the requests cost."""
    world = logged_in()
    other = beside(world)
    decide = authorize.plan

    def slow(*args: Any) -> Any:
        world.clock.now += 2.0
        return decide(*args)

    monkeypatch.setattr(authorize, "plan", slow)
    frame = request(3, 9, 4, {"topics": [{"name": "b"}]})
    assert world.send(frame).requests
    debt = 2.0 / core_limits.DECIDING_SHARE
    other.clock.now = world.clock.now
    assert not other.send(frame).requests
    assert other.send().mute_until == 0.0
    assert other.advance(debt + 1).requests


def test_what_waits_for_answers_is_bounded() -> None:
    """A request that is decided from its decoded form is kept until it is answered: few large ones per principal."""
    world = logged_in((("topic", "Describe", "*"),))
    other = beside(world, allowed=(("topic", "Describe", "*"),))
    names = [{"name": f"topic-{number:06}"} for number in range(40_000)]
    frame = request(3, 9, 4, {"topics": names, "allowAutoTopicCreation": False})
    most = core_limits.KEPT_OCTETS_MAX // len(frame)
    assert sum(len(world.send(frame).requests) for _ in range(most + 2)) == most
    assert not other.send(frame).requests
    assert not other.advance(3).requests
    empty = response(3, 9, 4, {"brokers": [], "topics": []})
    world.reply(*[empty] * most)
    assert other.advance(3).requests


def test_a_single_large_request_is_always_taken() -> None:
    world = logged_in((("topic", "Describe", "*"),))
    names = [{"name": f"{number:06}" + "x" * 200} for number in range(20_000)]
    assert world.send(request(3, 9, 4, {"topics": names, "allowAutoTopicCreation": False})).requests


def test_a_connection_that_ends_gives_back_what_it_kept() -> None:
    world = logged_in((("topic", "Describe", "*"),))
    names = [{"name": f"{number:06}" + "x" * 200} for number in range(20_000)]
    frame = request(3, 9, 4, {"topics": names, "allowAutoTopicCreation": False})
    other = beside(world, allowed=(("topic", "Describe", "*"),))
    assert world.send(frame).requests
    assert not other.send(frame).requests
    world.session.closed(GONE, "")
    assert other.advance(3).requests


def test_a_broken_answer_gives_back_once_what_was_kept() -> None:
    world = logged_in((("topic", "Describe", "*"),))
    assert world.send(request(3, 9, 4, {"topics": [{"name": "a"}], "allowAutoTopicCreation": False})).requests
    world.reply(response(3, 9, 4, {"brokers": [], "topics": []})[:-1] + b"\x05")
    assert world.ended is not None
    account = world.quotas.account(Principal("jwt", "corp", "alice"), PLENTY, world.clock.now)
    assert account._kept == 0


def test_re_authentication_still_works_under_a_small_quota() -> None:
    world = logged_in(quota=Quota(1e9, 1e9, requests=2.0, connections=9))
    world.clock.now += 5
    seen = world.send(handshake(5), authenticate("alice", 6))
    assert [body_of(36, 2, answer)["errorCode"] for answer in seen.answers[1:]] == [0]
    assert world.send(produce(7, "a")).up
    assert world.reply(produced(7, "a")).answers


@pytest.mark.parametrize("name", ["authorizer.class.name", "Remote.Log.Storage.Manager.CLASS.NAME", "metric.reporters"])
def test_no_right_is_enough_to_have_a_broker_load_code(name: str) -> None:
    world = logged_in((("cluster", "AlterConfigs", "kafka-cluster"),))
    configs = [{"name": name, "configOperation": 0, "value": "com.example.Evil"}]
    resources = [{"resourceType": 4, "resourceName": "1", "configs": configs}]
    seen = world.send(request(44, 1, 4, {"resources": resources, "validateOnly": False}))
    assert not seen.up
    assert body_of(44, 1, seen.answers[0])["responses"][0]["errorCode"] == 44

"""What was allowed once is known to every connection with the same rights, and to no other; within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core import audit
from gateway.core.identity import Principal
from gateway.core.rights import Decision
from gateway.kafka import hot, verdicts
from gateway.kafka.verdicts import LOOKS_MAX, VerdictMemory
from tests.forms import FORMS
from tests.property.short_ways import SESSION, ShortWorld
from tests.scenarios.kafka_world import (
    ALL_TOPICS,
    TOPIC_A,
    TablePolicy,
    TableRights,
    World,
    fetch,
    fetched,
    produce,
    produced,
    request,
    response,
)

ALLOWED = (*ALL_TOPICS, ("topic", "Write", "*"), ("topic", "Read", "c"))
ALICE, BOB = Principal("jwt", "corp", "alice"), Principal("jwt", "corp", "bob")
PLENTY = TablePolicy(()).rights(None, "", 0.0).quota  # type: ignore[arg-type]


def logged_in(form: hot.Form, **settings: Any) -> ShortWorld:
    world = ShortWorld(SESSION, form.short_way, **{"allowed": ALLOWED, **settings})
    world.login()
    return world


def beside(world: ShortWorld, name: str = "alice") -> ShortWorld:
    """Another connection through the same gateway."""
    other = ShortWorld(SESSION, world.short, allowed=ALLOWED, quotas=world.quotas)
    other.joins(world, name)
    return other


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics that rights were asked about."""
    names: list[str] = []
    decide = TableRights.decide

    def counting(self: TableRights, kind: str, operation: str, name: str) -> Decision:
        if kind == "topic":
            names.append(name)
        return decide(self, kind, operation, name)

    monkeypatch.setattr(TableRights, "decide", counting)
    return names


def goes_on(world: ShortWorld, *frames: bytes) -> None:
    assert world.send(*frames).up == b"".join(frames)


def sums(world: World) -> dict[tuple[str, object], tuple[object, object]]:
    return {
        (str(event.principal), event.fields["resource"]): (event.fields["requests"], event.fields["bytes"])
        for event in world.tally.drain(0.0)
        if event.fields["kind"] == "topic"
    }


@pytest.mark.parametrize("form", FORMS)
def test_what_one_connection_met_another_knows(form: hot.Form, asked: list[str]) -> None:
    world = logged_in(form)
    goes_on(world, produce(4, "t1"), produce(5, "t2"), produce(6, "t1"))
    assert asked == ["t1", "t2"]
    goes_on(beside(world), produce(4, "t1"), produce(5, "t2"))
    assert asked == ["t1", "t2"]
    assert {key: requests for key, (requests, _) in sums(world).items()} == {
        ("jwt:corp:alice", "t1"): 3,
        ("jwt:corp:alice", "t2"): 2,
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_topic_that_is_met_for_the_first_time_takes_the_short_way(form: hot.Form) -> None:
    """But for a connection's first request of its API."""
    world = logged_in(form)
    world.state.topics.learn("c", b"c" * 16)
    goes_on(world, produce(4, "t1"), fetch(5, "a"))
    way = world.session.short_way
    assert way.requests_taken == 0
    goes_on(world, produce(6, "t2", "t3"), fetch(7, "c"), fetch(8, b"c" * 16, version=13))
    assert way.requests_taken == 3
    denied = fetch(9, "denied")
    assert world.send(denied).up != denied
    assert way.requests_taken == 3


@pytest.mark.parametrize("form", FORMS)
def test_not_too_many_topics_are_asked_for_at_once(form: hot.Form, asked: list[str]) -> None:
    world = logged_in(form)
    goes_on(world, produce(4, "t"))
    way = world.session.short_way
    goes_on(world, produce(5, *(f"a{number}" for number in range(LOOKS_MAX))))
    assert way.requests_taken == 1
    goes_on(world, produce(6, *(f"b{number}" for number in range(LOOKS_MAX + 1))))
    assert way.requests_taken == 1


@pytest.mark.parametrize("form", FORMS)
def test_another_principal_with_the_same_rights_has_sums_of_its_own(form: hot.Form, asked: list[str]) -> None:
    world = logged_in(form)
    goes_on(world, produce(4, "t1"), produce(5, "t2"))
    goes_on(beside(world, "bob"), produce(4, "t1"), produce(5, "t2"), produce(6, "t2"))
    assert asked == ["t1", "t2"] * 2
    assert {key: requests for key, (requests, _) in sums(world).items()} == {
        ("jwt:corp:alice", "t1"): 1, ("jwt:corp:alice", "t2"): 1, ("jwt:corp:bob", "t1"): 1, ("jwt:corp:bob", "t2"): 2,
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_was_allowed_by_other_rights_counts_for_nobody(form: hot.Form, asked: list[str]) -> None:
    world = logged_in(form)
    other = beside(world)
    for each in (world, other):
        goes_on(each, produce(4, "t1"), produce(5, "t1"))
    world.policies.current = TablePolicy(ALL_TOPICS, revision="r2")
    assert not world.send(produce(6, "t1")).up
    assert not other.send(produce(6, "t1")).up
    world.policies.current = TablePolicy(ALLOWED, revision="r3")
    asked.clear()
    goes_on(other, produce(8, "t1"), produce(9, "t1"))
    goes_on(world, produce(7, "t1"))
    assert asked == ["t1"]


@pytest.mark.parametrize("form", FORMS)
def test_sums_that_the_audit_gives_up_are_asked_for_anew(form: hot.Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two topics have sums of their own; when one is not used any more, the third has its turn."""
    monkeypatch.setattr(audit, "ALLOWED_KEYS_OF_PRINCIPAL_MAX", 2)
    world = logged_in(form)
    other = beside(world)
    for number, topic in enumerate(("t1", "t2", "t3")):
        world.send(produce(number, topic))
        other.send(produce(number, topic))
    found = {key[1]: requests for key, (requests, _) in sums(world).items()}
    assert found == {"t1": 2, "t2": 2, "*other*": 2}
    generation = world.tally.generation
    world.send(produce(8, "t1"), produce(9, "t3"))
    assert {key[1] for key in sums(world)} == {"t1", "*other*"}
    assert world.tally.generation == generation + 1  # t2 was not used
    for each in (other, world):
        each.send(produce(10, "t3"), produce(11, "t1"), produce(12, "t3"), produce(13, "t2"))
    assert {key[1]: requests for key, (requests, _) in sums(world).items()} == {"t3": 4, "t1": 2, "*other*": 2}


@pytest.mark.parametrize("form", FORMS)
def test_sums_that_are_used_are_kept(form: hot.Form, asked: list[str]) -> None:
    world = logged_in(form)
    world.send(produce(4, "t1"))
    first = sums(world)
    assert first == {("jwt:corp:alice", "t1"): (1, first["jwt:corp:alice", "t1"][1])}
    assert sums(world) == {}
    asked.clear()
    goes_on(world, produce(5, "t1"))
    assert not asked
    assert sums(world) == first


@pytest.mark.parametrize("form", FORMS)
def test_more_topics_than_are_remembered(form: hot.Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_OF_ONE_MAX", 10)
    monkeypatch.setattr(verdicts, "FORGOTTEN_AT_ONCE", 3)
    world = logged_in(form)
    for number in range(30):
        world.send(produce(number, f"t{number % 12}"))
        fast = world.session._admission.traffic.fast  # type: ignore[union-attr]
        assert len(fast._verdicts) <= 10
    assert {key[1]: requests for key, (requests, _) in sums(world).items()} == {
        f"t{number}": 3 if number < 6 else 2 for number in range(12)
    }
    many = produce(40, *(f"m{number}" for number in range(25)))
    assert world.send(many).requests
    assert world.ended is None


@pytest.mark.parametrize("form", FORMS)
def test_a_topic_id_that_a_broker_does_not_know_is_forgotten_alone(form: hot.Form) -> None:
    world = logged_in(form)
    world.state.topics.learn("c", b"c" * 16)
    world.send(fetch(4, TOPIC_A, version=13), fetch(5, b"c" * 16, version=13))
    fast = world.session._admission.traffic.fast  # type: ignore[union-attr]
    assert set(fast.read_ids) == {TOPIC_A, b"c" * 16}
    gone = {"partitionIndex": 0, "errorCode": 100, "highWatermark": -1, "records": b""}
    world.reply(response(1, 13, 4, {"responses": [{"topicId": TOPIC_A, "partitions": [gone]}]}))
    assert set(fast.read_ids) == {b"c" * 16}


@pytest.mark.parametrize("form", FORMS)
def test_after_a_withdrawal_open_connections_collect_and_new_ones_do_not(form: hot.Form) -> None:
    world = logged_in(form)
    other = beside(world)
    world.send(fetch(4, "a"))
    world.reply(fetched(4, "a"))
    other.send(produce(4, "a"))
    other.reply(produced(4, "a"))
    less = tuple(each for each in ALLOWED if each != ("topic", "Read", "a"))
    for number, allowed in enumerate((less, less, ALLOWED)):
        world.policies.current = TablePolicy(allowed, revision=f"r{number}")
        for each in (world, other):
            each.send(request(12, 4, 5 + number, {"groupId": "g", "memberId": "m", "generationId": 1}))
            fast = each.session._admission.traffic.fast  # type: ignore[union-attr]
            assert fast.collected == (allowed is less)
        fresh = beside(world)
        assert not fresh.session._admission.traffic.fast.collected  # type: ignore[union-attr]


# The memory alone


def rights() -> TableRights:
    return TableRights((), PLENTY, "r")


def filled(memory: VerdictMemory, principal: Principal, count: int) -> verdicts.Verdicts:
    made = memory.of(rights(), principal, 0)
    for number in range(count):
        memory.remember(made, made.write_names, b"%d" % number, [0, 0])
    return made


def test_one_at_its_bound_and_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_OF_ONE_MAX", 100)
    monkeypatch.setattr(verdicts, "FORGOTTEN_AT_ONCE", 10)
    memory = VerdictMemory()
    assert len(filled(memory, ALICE, 100)) == 100
    made = filled(memory, BOB, 101)
    assert len(made) == 91
    assert b"9" not in made.write_names  # the oldest went
    assert b"10" in made.write_names
    memory.remember(made, made.read_ids, b"x", [0, 0])
    assert len(made) == 92


def test_all_at_their_bound_and_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_MAX", 100)
    monkeypatch.setattr(verdicts, "FORGOTTEN_AT_ONCE", 10)
    memory = VerdictMemory()
    small, large = filled(memory, ALICE, 20), filled(memory, BOB, 80)
    assert (len(small), len(large)) == (20, 80)
    memory.remember(small, small.write_names, b"one more", [0, 0])
    assert (len(small), len(large)) == (21, 70)
    for number in range(100):
        memory.remember(large, large.write_ids, b"%d" % number, [0, 0])
        assert len(small) + len(large) <= 100
    assert len(small) == 21


def test_what_nobody_has_any_more_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_MAX", 100)
    monkeypatch.setattr(verdicts, "FORGOTTEN_AT_ONCE", 10)
    memory = VerdictMemory()
    same = rights()
    made = memory.of(same, ALICE, 0)
    assert memory.of(same, ALICE, 0) is made
    assert memory.of(same, BOB, 0) is not made
    memory.remember(made, made.write_names, b"a", [0, 0])
    del made
    assert not memory.of(same, ALICE, 0).write_names
    filled(memory, ALICE, 90)
    assert len(filled(memory, BOB, 90)) == 90  # alice's are no more


def test_another_generation_of_the_audits_sums_is_another_beginning() -> None:
    memory, same = VerdictMemory(), rights()
    made = memory.of(same, ALICE, 0)
    memory.remember(made, made.write_names, b"a", [0, 0])
    assert memory.of(same, ALICE, 0).write_names
    assert memory.of(same, ALICE, 1) is made
    assert not made.write_names

"""A Fetch answer walked as it comes: whole, in parts, broken; by both forms, and as the walk over the whole says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kafka import codec, hot, steps, walk
from gateway.kafka.fetch_answer import LOOKAHEAD, TAIL_OCTETS_MAX, Declined, Withheld, blank
from gateway.kafka.primitives import Malformed
from tests.forms import FORMS
from tests.property.kafka_bodies import shape_of, some_body
from tests.scenarios.kafka_world import response

FETCH = 1
Outcome = tuple[str, int, tuple[tuple[bytes, int], ...], tuple[bytes, ...]]


class Reader:
    """Gives every topic sums of its own but those that are denied; what was walked, as one value."""

    def __init__(self, form: hot.Form, denied: dict[bytes, int] | None = None) -> None:
        self.sums: dict[bytes, list[int]] = {}
        self.denied = denied or {}
        self.answer = form.fetch_answer(self.read)

    def read(self, topic: bytes, by_id: bool) -> list[int] | int:
        return self.denied.get(topic) or self.sums.setdefault(topic, [0, 0])

    def walk(self, frame: bytes, version: int, cuts: list[int]) -> Outcome:
        """Show the frame as a pump would, in parts that end at `cuts`; how it ended, and how much went on."""
        answer = self.answer
        answer.begin(len(frame), version)
        at = 0
        how = "more"
        for cut in [*cuts, len(frame)]:
            if cut - at < answer.wanted:
                continue
            try:
                at += answer.feed(memoryview(frame)[at:cut], self.sums)
            except (Malformed, Declined, Withheld) as error:
                how = type(error).__name__
                break
            answer.tally()
            assert answer.left == len(frame) - at
            assert 0 < answer.wanted <= answer.left or not answer.left
        if how == "more" and answer.complete:
            how = "addresses" if answer.ends_with_addresses else "complete"
        sums = tuple((topic, pair[1]) for topic, pair in self.sums.items() if pair[1])
        return how, at, sums, tuple(answer.unknown)


def some_frame(dice: random.Random, version: int) -> bytes:
    body = some_body(shape_of(("response", FETCH, version)), dice)
    if dice.random() < 0.7:
        body["nodeEndpoints"] = []
    for topic in body["responses"]:
        for partition in topic["partitions"]:
            if dice.random() < 0.9:
                partition["errorCode"] = dice.choice((0, 0, 29))
            partition["records"] = dice.choice((None, b"", dice.randbytes(dice.randrange(300))))
    return response(FETCH, version, dice.randrange(1000), body)


def some_cuts(dice: random.Random, size: int) -> list[int]:
    if dice.random() < 0.3:
        return list(range(1, size))
    return sorted(dice.randrange(size) for _ in range(dice.randrange(12)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", steps.FETCH_VERSIONS)
def test_whole_it_is_what_the_walk_over_the_whole_says(form: hot.Form, version: int) -> None:
    dice = random.Random(version)
    for _ in range(100):
        frame = some_frame(dice, version)
        _, offset = codec.parse_response_header(FETCH, version, memoryview(frame)[4:])
        found = walk.walk_fetch_response(memoryview(frame)[4:], offset, version)
        how, at, sums, _ = Reader(form).walk(frame, version, [])
        if found.has_node_endpoints or 100 in found.error_codes:
            assert (how, at) == ("Declined", 0)
            continue
        assert (how, at) == ("complete", len(frame))
        expected: dict[bytes, int] = {}
        for topic, octets in zip(found.topics, found.topic_octets, strict=True):
            expected[topic] = expected.get(topic, 0) + octets
        assert dict(sums) == {topic: octets for topic, octets in expected.items() if octets}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", steps.FETCH_VERSIONS)
def test_in_parts_it_is_the_same(form: hot.Form, version: int) -> None:
    dice = random.Random(version)
    for _ in range(60):
        frame = some_frame(dice, version)
        whole = Reader(form).walk(frame, version, [])
        how, at, sums, _ = Reader(form).walk(frame, version, some_cuts(dice, len(frame)))
        if whole[0] == "complete":
            assert (how, at, sums) == whole[:3]
        else:  # what makes a whole answer unusual may come when its front is gone
            assert how in ("Declined", "complete", "addresses")


@pytest.mark.parametrize("form", FORMS)
def test_addresses_at_the_end_are_left_behind(form: hot.Form) -> None:
    frame = response(
        FETCH,
        16,
        5,
        {
            "responses": [{"topicId": b"a" * 16, "partitions": [{"partitionIndex": 0, "records": b"r" * 1000}]}],
            "nodeEndpoints": [{"nodeId": 2, "host": "broker2.internal", "port": 9, "rack": None}],
        },
    )
    how, at, sums, _ = Reader(form).walk(frame, 16, [200])
    assert how == "addresses"
    assert b"broker2" not in frame[:at]
    assert b"broker2" in frame[at:]
    assert sums == ((b"a" * 16, 1000),)
    plain = codec.decode_response(FETCH, 16, (frame[:at] + blank(len(frame) - at))[9:])
    assert codec.drop_unknown(plain)
    assert plain["nodeEndpoints"] == []
    assert plain["responses"][0]["partitions"][0]["records"] == b"r" * 1000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [29, 100])
def test_a_denied_topic_in_the_middle(form: hot.Form, error: int) -> None:
    def frame(code: int, records: bytes) -> bytes:
        return response(
            FETCH,
            16,
            5,
            {
                "responses": [
                    {"topicId": b"a" * 16, "partitions": [{"partitionIndex": 0, "records": b"r" * 1000}]},
                    {
                        "topicId": b"b" * 16,
                        "partitions": [{"partitionIndex": 0, "errorCode": code, "records": records}],
                    },
                ]
            },
        )

    denied = {b"b" * 16: error}
    assert Reader(form, denied).walk(frame(0, b"secret"), 16, [])[:2] == ("Declined", 0)
    assert Reader(form, denied).walk(frame(0, b"secret"), 16, [200])[0] == "Withheld"
    assert Reader(form, denied).walk(frame(error, b"secret"), 16, [200])[0] == "Withheld"
    how, _, sums, unknown = Reader(form, denied).walk(frame(error, b""), 16, [200])
    assert (how, sums) == ("complete", ((b"a" * 16, 1000),))
    assert unknown == ((b"b" * 16,) if error == 100 else ())


@pytest.mark.parametrize("form", FORMS)
def test_more_tagged_fields_than_an_answer_has(form: hot.Form) -> None:
    def frame(octets: int) -> bytes:
        partitions = [{"partitionIndex": 0, "records": bytes(100)}]
        body = {"responses": [{"topicId": b"a" * 16, "partitions": partitions}], "_tags": {9: bytes(octets)}}
        return response(FETCH, 16, 5, body)

    most = TAIL_OCTETS_MAX - 5
    assert Reader(form).walk(frame(most), 16, [70])[0] == "complete"
    assert Reader(form).walk(frame(most + 1), 16, [70])[0] == "Malformed"
    assert Reader(form).walk(frame(most + 1), 16, [])[0] == "Declined"


@pytest.mark.skipif(len(FORMS) < 2, reason="one form")
@settings(max_examples=600, deadline=None)
@given(st.integers(4, 18), st.integers(0, 2**32), st.booleans())
def test_both_forms_say_the_same_of_anything(version: int, seed: int, in_parts: bool) -> None:
    dice = random.Random(seed)
    data = bytearray(some_frame(dice, version) if dice.random() < 0.9 else dice.randbytes(dice.randrange(1, 300)))
    for _ in range(dice.randrange(3)):
        data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    cuts = some_cuts(dice, len(data)) if in_parts else []
    denied = {topic: dice.choice((29, 100)) for topic in (b"a" * 16, b"", b"xx")} if dice.random() < 0.3 else {}
    outcomes: list[Any] = [Reader(each.values[0], denied).walk(bytes(data), version, cuts) for each in FORMS]
    assert outcomes[0] == outcomes[-1]


@pytest.mark.parametrize("octets", [*range(4, 20), *range(120, 140), *range(16_500, 16_530), TAIL_OCTETS_MAX])
def test_blank_is_one_unknown_tag(octets: int) -> None:
    made = blank(octets)
    assert len(made) == octets
    found, stop = walk.answer_tags(memoryview(made), 0, len(made), True)
    assert (found, stop) == (False, octets)


def test_what_is_waited_for_at_a_steps_beginning_is_enough() -> None:
    assert LOOKAHEAD >= 4 + 4 + 1 + 10 + 5  # the head
    assert LOOKAHEAD >= 30 + 5  # a partition's front; all others are shorter

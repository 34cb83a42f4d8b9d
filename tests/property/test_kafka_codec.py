"""Every Kafka message at every version: what is written is read back, and only whole messages are read."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.kafka import codec
from gateway.kafka.codec import Malformed
from tests.property.kafka_bodies import Case, bodies, cases, shape_of, some_body

ALL = cases()
OFTEN = [case for case in ALL if case[1] in (0, 1, 3, 8, 9, 18, 19, 68, 75)]


def reader(case: Case) -> Callable[[Any], dict[str, Any]]:
    read = codec.decode_request if case[0] == "request" else codec.decode_response
    return lambda data: read(case[1], case[2], data)


def writer(case: Case) -> Callable[[dict[str, Any]], bytes]:
    write = codec.encode_request if case[0] == "request" else codec.encode_response
    return lambda body: write(case[1], case[2], body)


def test_the_table_holds_every_client_api() -> None:
    assert len(ALL) == 618
    assert set(codec.APIS) == set(range(95)) - {4, 5, 6, 7}


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case[0]}-{case[1]}-v{case[2]}")
def test_what_is_written_is_read_back(case: Case) -> None:
    read, write, shape = reader(case), writer(case), shape_of(case)
    dice = random.Random(f"{case}")
    for _ in range(12):
        body = some_body(shape, dice)
        data = write(body)
        assert read(data) == body
        assert read(memoryview(data)) == body
        assert write(read(data)) == data


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.data())
def test_any_body_is_read_back(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(OFTEN))
    body = data.draw(bodies(case))
    written = writer(case)(body)
    assert reader(case)(written) == body
    assert writer(case)(reader(case)(written)) == written


@pytest.mark.parametrize("kind", ["request", "response"])
def test_cut_anywhere_it_is_malformed(kind: str) -> None:
    dice = random.Random(7)
    for case in ALL:
        if case[0] != kind:
            continue
        data = writer(case)(some_body(shape_of(case), dice))
        read = reader(case)
        for size in range(min(len(data), 400)):
            with pytest.raises(Malformed):
                read(data[:size])


def test_anything_left_over_is_malformed() -> None:
    dice = random.Random(8)
    for case in ALL:
        data = writer(case)(some_body(shape_of(case), dice))
        with pytest.raises(Malformed):
            reader(case)(data + b"\0")


def test_a_body_may_leave_out_what_has_its_default() -> None:
    for case in ALL:
        read, write = reader(case), writer(case)
        body = read(write({}))
        assert write(body) == write({})
        assert read(write(body)) == body

"""Garbage never gets more out of the parsers than Malformed, and never keeps them for long."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kafka import codec, scan
from gateway.kafka.codec import Malformed
from tests.forms import FORMS
from tests.property.kafka_bodies import cases, shape_of, some_body

ALL = cases()
SCANS = (
    *(each.values[0].scan_produce for each in FORMS),
    *(each.values[0].scan_fetch for each in FORMS),
    scan.walk_produce_response,
    scan.walk_fetch_response,
)


@settings(max_examples=1000, deadline=20_000)
@given(st.sampled_from(ALL), st.binary(max_size=200))
def test_garbage_as_any_message(case: tuple[str, int, int], data: bytes) -> None:
    decode = codec.decode_request if case[0] == "request" else codec.decode_response
    try:
        decode(case[1], case[2], data)
    except Malformed:
        return


@settings(max_examples=500, deadline=20_000)
@given(st.sampled_from(SCANS), st.integers(3, 18), st.binary(max_size=200))
def test_garbage_as_a_hot_frame(function: object, version: int, data: bytes) -> None:
    try:
        function(memoryview(data), 0, version)  # type: ignore[operator]
    except Malformed:
        return


@given(st.binary(max_size=60))
def test_garbage_as_a_header(data: bytes) -> None:
    try:
        header = codec.parse_request_header(memoryview(data))
    except Malformed:
        return
    assert 10 <= header.body_offset <= len(data)


@pytest.mark.parametrize("seed", range(6))
def test_real_messages_with_wrong_bytes(seed: int) -> None:
    dice = random.Random(seed)
    for case in ALL[seed::6]:
        encode = codec.encode_request if case[0] == "request" else codec.encode_response
        decode = codec.decode_request if case[0] == "request" else codec.decode_response
        data = bytearray(encode(case[1], case[2], some_body(shape_of(case), dice)))
        for _ in range(20):
            if not data:
                break
            broken = bytearray(data)
            for _ in range(dice.randrange(1, 4)):
                broken[dice.randrange(len(broken))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            try:
                decode(case[1], case[2], broken)
            except Malformed:
                continue

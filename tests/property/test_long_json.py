"""core.long_json beside core.strict_json: the same values of the same texts, whole and in slices, the same refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import long_json
from gateway.core.identity import Principal
from gateway.core.slices import Walks
from gateway.core.strict_json import DEPTH_MAX, BadJson, DuplicateMember, parse_object
from tests.scenarios.kafka_world import HandClock

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
BROKEN = (
    b"", b" ", b"[", b"]", b"[1,]", b"[,1]", b"[1 2]", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{1:2}", b'{"a" 1}',
    b"[1}", b'{"a":1]', b"01", b"-", b"1.", b".5", b"1e", b"+1", b"NaN", b"Infinity", b"-Infinity", b"nul", b"True",
    b'"', b'"a', b'"\\x"', b'"\\u12"', b'"\x01"', b'"\n"', b"\xff", b'"\xff"', b"\xef\xbb\xbf1", b"1 2", b"[1]x",
    b"\x0b1", b"9" * 5000, b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b"\xc2\xa01",
)  # fmt: skip


def at_once(text: bytes) -> Any:
    return parse_object(b'{"":' + text + b"}")[""]


def in_slices(text: bytes, elements: int = 1) -> Any:
    """With a stop between any two elements."""
    walks = Walks()
    walks.seconds, walks.elements = 0.0, elements
    walk = walks.begin(Principal("token", "corp", "alice"), HandClock(), lambda: long_json.read(bytearray(text)))
    assert walk is not None
    while not walk.go_on():
        pass
    assert not walks.taken
    return walk.outcome


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_written_is_read(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert long_json.read(text) == in_slices(text) == at_once(text) == value
    assert json.loads(b"".join(long_json.written(value))) == value


@given(VALUES, st.data())
def test_the_same_is_refused(value: Any, data: st.DataObject) -> None:
    """Sound texts with an octet changed, taken out, or put in."""
    text = bytearray(json.dumps(value).encode())
    at = data.draw(st.integers(0, len(text)))
    text[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    try:
        wanted = at_once(bytes(text))
    except BadJson:
        with pytest.raises(BadJson):
            long_json.read(bytes(text))
        return
    if b"1e999" not in text and "inf" not in repr(wanted):
        assert long_json.read(bytes(text)) == wanted


@pytest.mark.parametrize("text", BROKEN)
def test_no_json_is_refused(text: bytes) -> None:
    for read in (at_once, long_json.read, in_slices):
        with pytest.raises(BadJson):
            read(text)


def test_a_member_named_twice_is_said_so() -> None:
    with pytest.raises(DuplicateMember):
        long_json.read(b'[{"a":1,"b":2,"a":3}]')


def test_nesting_has_an_end() -> None:
    assert long_json.read(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(BadJson):
        long_json.read(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


def test_one_text_has_an_end() -> None:
    most = long_json.TOKEN_BYTES_MAX - 2
    assert long_json.read(b'"' + b"x" * most + b'"') == "x" * most
    with pytest.raises(BadJson):
        long_json.read(b'"' + b"x" * (most + 1) + b'"')


def test_numbers_out_of_all_bounds_are_refused() -> None:
    for text in (b"1e999", b"[-1e999]"):
        with pytest.raises(BadJson):
            long_json.read(text)


def test_it_is_written_in_parts() -> None:
    names = [f"persistent://acme/app/orders-{number}" for number in range(30_000)]
    parts = long_json.written(names)
    assert len(parts) > 3
    assert all(len(part) <= long_json.PART_BYTES + 100 for part in parts)
    assert json.loads(b"".join(parts)) == names


def test_it_is_let_go_of() -> None:
    value = {"a": [1, {"b": [2]}], "c": {}}
    inner = value["a"]
    long_json.take_apart(value)
    assert (value, inner) == ({}, [])

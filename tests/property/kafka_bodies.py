"""Bodies for every Kafka message at every version, made from the shapes the codec itself is made of."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from gateway.kafka.schema.model import Message, table
from gateway.kafka.schema.shape import Form, Shape, places, shape

Case = tuple[str, int, int]
"""("request" or "response", API key, version)."""

_NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": st.integers(-(2**7), 2**7 - 1),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "uuid": st.binary(min_size=16, max_size=16),
}
_TEXT = st.one_of(st.text(st.characters(codec="utf-8"), max_size=6), st.just("x" * 130))
_BYTES = st.one_of(st.binary(max_size=6), st.just(b"\x81" * 130))


def messages() -> list[Message]:
    return [*table().requests.values(), *table().responses.values()]


def cases() -> list[Case]:
    """Every message at every version, unstable ones included."""
    return [
        (message.kind, message.key, version)
        for message in messages()
        for version in range(message.versions.first, message.versions.last + 1)
    ]


def shape_of(case: Case) -> Shape:
    kind, key, version = case
    return shape((table().requests if kind == "request" else table().responses)[key], version)


def bodies(case: Case) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with every field of the version, as the decoder gives them."""
    return _struct(shape_of(case))


def _struct(shape: Shape) -> st.SearchStrategy[dict[str, Any]]:
    fields = {place.name: _value(place.form) for place in shape.places}
    for place in shape.tagged:
        fields[place.name] = st.one_of(st.just(place.default), _value(place.form))
    if not shape.flexible:
        return st.fixed_dictionaries(fields)
    known = {place.tag for place in shape.tagged}
    tags = st.integers(0, 300).filter(lambda tag: tag not in known)
    unknown = st.dictionaries(tags, st.binary(max_size=4), min_size=1, max_size=2)
    return st.one_of(st.fixed_dictionaries(fields), st.fixed_dictionaries({**fields, "_tags": unknown}))


def _value(form: Form) -> st.SearchStrategy[Any]:
    if form.shape is not None:
        made: st.SearchStrategy[Any] = _struct(form.shape)
    elif form.element is not None:
        made = st.lists(_value(form.element), max_size=3)
    elif form.kind == "string":
        made = _TEXT
    elif form.kind == "bytes":
        made = _BYTES
    else:
        made = _NUMBERS[form.kind]
    return st.one_of(st.none(), made) if form.nullable else made


def some_body(shape: Shape, dice: random.Random) -> dict[str, Any]:
    """One body by dice, for tests over every message where a strategy each would take too long."""
    body = {place.name: _some_value(place.form, dice) for place in shape.places}
    for place in shape.tagged:
        body[place.name] = place.default if dice.random() < 0.3 else _some_value(place.form, dice)
    if shape.flexible and dice.random() < 0.3:
        known = {place.tag for place in places(shape) if place.tag >= 0}
        body["_tags"] = {tag: dice.randbytes(dice.randrange(4)) for tag in (7, 31, 130, 20_000) if tag not in known}
    return body


def _some_value(form: Form, dice: random.Random) -> Any:
    if form.nullable and dice.random() < 0.25:
        return None
    if form.shape is not None:
        return some_body(form.shape, dice)
    if form.element is not None:
        return [_some_value(form.element, dice) for _ in range(dice.randrange(3))]
    if form.kind == "string":
        return dice.choice(("", "payments.orders", "größe", "x" * dice.choice((126, 127, 128, 300))))
    if form.kind == "bytes":
        return dice.randbytes(dice.choice((0, 1, 60, 126, 127, 128)))
    if form.kind == "uuid":
        return dice.randbytes(16)
    if form.kind == "float64":
        return dice.choice((0.0, -1.5, 1e300))
    if form.kind == "bool":
        return dice.random() < 0.5
    bits = int(form.kind.lstrip("uint"))
    lowest = 0 if form.kind.startswith("u") else -(2 ** (bits - 1))
    return dice.choice((lowest, lowest + 2**bits - 1, lowest + dice.randrange(2**bits), 0, 1))

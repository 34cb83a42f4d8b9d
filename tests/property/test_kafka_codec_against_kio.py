"""An independent implementation reads what we write, finds the same values, and writes the same bytes.

kio knows Kafka up to 4.3 and types error codes and times, so it is given tame values and no unknown tagged field.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import io
import random
import uuid
from typing import Any

import pytest
from kio.index import KioIndexError, load_payload_module
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from gateway.kafka import codec
from gateway.kafka.schema.shape import Form, Shape
from tests.property.kafka_bodies import Case, cases, shape_of

UNKNOWN_TO_KIO = 14
"""Messages and versions that 4.4 added; more than these, and the test compares less than it says."""


def tame(shape: Shape, dice: random.Random) -> dict[str, Any]:
    return {place.name: _tame(place.form, place.name, dice) for place in (*shape.places, *shape.tagged)}


def _tame(form: Form, name: str, dice: random.Random) -> Any:
    if form.nullable and dice.random() < 0.25:
        return None
    if form.shape is not None:
        return tame(form.shape, dice)
    if form.element is not None:
        return [_tame(form.element, name, dice) for _ in range(dice.randrange(1, 3))]
    if form.kind == "string":
        return dice.choice(("payments.orders", "größe", "x" * 200))
    if form.kind == "bytes":
        return dice.randbytes(dice.choice((1, 127, 128)))
    if form.kind == "uuid":
        return dice.randbytes(16)
    if form.kind == "float64":
        return 1.5
    if form.kind == "bool":
        return dice.random() < 0.5
    return dice.randrange(1, 100)


def kio_name(name: str, found: dict[str, str]) -> str:
    """kio leaves the unit out of a time's name, and keeps two older names."""
    name = name.lower()
    if name in found:
        return name
    older = {"generationidormemberepoch": "generationid", "acceptablerecoverylaglegacy": "acceptablerecoverylag"}
    return older.get(name, name.removesuffix("ms"))


def plain(value: Any, form: Form) -> Any:
    """kio's value as ours."""
    if value is None:
        return bytes(16) if form.kind == "uuid" else None
    if form.shape is not None:
        found = {field.name.replace("_", "").lower(): field.name for field in dataclasses.fields(value)}
        return {
            place.name: plain(getattr(value, found[kio_name(place.name, found)]), place.form)
            for place in (*form.shape.places, *form.shape.tagged)
        }
    if form.element is not None:
        return [plain(item, form.element) for item in value]
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(milliseconds=1)
    if isinstance(value, datetime.datetime):
        return (value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(milliseconds=1)
    return value


def kio_type(case: Case) -> Any:
    """kio's class for a message at a version, None where it does not know it."""
    kind, key, version = case
    try:
        module = load_payload_module(key, version, EntityType[kind])
    except KioIndexError:
        return None
    name = codec.APIS[key].name + kind.capitalize()
    return getattr(module, name)


def test_kio_knows_nearly_every_message() -> None:
    assert len([case for case in cases() if kio_type(case) is None]) <= UNKNOWN_TO_KIO


@pytest.mark.parametrize("case", [case for case in cases() if kio_type(case) is not None], ids=str)
def test_kio_reads_and_writes_the_same(case: Case) -> None:
    kind, key, version = case
    write = codec.encode_request if kind == "request" else codec.encode_response
    read = codec.decode_request if kind == "request" else codec.decode_response
    shape = shape_of(case)
    dice = random.Random(f"{case}")
    kind_of_kio = kio_type(case)
    for _ in range(3):
        body = tame(shape, dice)
        data = write(key, version, body)
        entity, size = entity_reader(kind_of_kio)(data, 0)
        assert size == len(data)
        assert plain(entity, Form("struct", shape=shape)) == body
        buffer = io.BytesIO()
        entity_writer(kind_of_kio)(buffer, entity)
        assert read(key, version, buffer.getvalue()) == body
        assert buffer.getvalue() == data

"""Throttle times in answers (KIP-219): the client is told the larger of the gateway's and the broker's."""

from __future__ import annotations

import struct
from functools import cache

from gateway.kafka.plan import Body
from gateway.kafka.schema.model import table

FIELD = "throttleTimeMs"


@cache
def has_throttle_time(api_key: int, version: int) -> bool:
    """Whether an API's answer has the field at a version."""
    return any(field.name == FIELD and version in field.versions for field in table().responses[api_key].fields)


def merge_throttle(api_key: int, version: int, body: Body, throttle_ms: int) -> None:
    """Raise a decoded answer's throttle time; one without the field has none to raise."""
    if has_throttle_time(api_key, version):
        body[FIELD] = max(body.get(FIELD, 0), throttle_ms)


def milliseconds(seconds: float) -> int:
    """A hold as a throttle time: 0 for none, and never for one that is short."""
    return max(1, int(seconds * 1000)) if seconds > 0 else 0


def patch_throttle(frame: memoryview, offset: int, throttle_ms: int) -> tuple[bytes, list[memoryview]]:
    """An answer with its throttle time raised: length prefix and all up to that field, and what comes behind.
    `offset` is the field's."""
    (theirs,) = struct.unpack_from(">i", frame, offset)
    head = struct.pack(">i", len(frame)) + frame[:offset] + struct.pack(">i", max(theirs, throttle_ms))
    return head, [frame[offset + 4 :]]

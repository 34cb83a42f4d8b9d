"""Known mistakes of client libraries that the broker puts up with, and so must the gateway. A closed list.

librdkafka (up to 2.16 at least, its issue 5049): a Metadata request for all topics spells the null array of version 9
and later in four bytes where one is due. The broker reads the first of them as null, the others as the flags and the
empty tagged fields, and does not look at the three bytes that are left over at the end.
"""

from __future__ import annotations

METADATA = 3
METADATA_COMPACT_FROM = 9
METADATA_CLUSTER_FLAG_UNTIL = 10
_EXCESS = 3


def without_excess(api_key: int, version: int, body: memoryview) -> memoryview:
    """The body as the broker reads it: `body` itself, or what remains of it without a known excess."""
    if api_key != METADATA or version < METADATA_COMPACT_FROM:
        return body
    flags = 3 if version <= METADATA_CLUSTER_FLAG_UNTIL else 2
    sound = 1 + flags + 1
    if len(body) == sound + _EXCESS and body[:sound] == bytes(sound):
        return body[:sound]
    return body

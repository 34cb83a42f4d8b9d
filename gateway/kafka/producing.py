"""What is particular to producers: transactional batches, requests without an answer, internal topics."""

from __future__ import annotations

from typing import Any

from gateway.core.slices import paced
from gateway.kafka.errors import TOPIC_AUTHORIZATION_FAILED
from gateway.kafka.plan import Body, Plan, Refuse
from gateway.kafka.reasons import PRODUCE_UNANSWERED
from gateway.kafka.rows import TOPIC, Denial, Items, Work, denial

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
"""Topics that the broker lets nobody add to a transaction, whatever their rights (Topic.isInternal)."""

_BATCH_PREFIX = 12
"""Base offset and length stand before what the length counts."""
_MAGIC_AT, _ATTRIBUTES_END, _MAGIC = 16, 23, 2
_TRANSACTIONAL = 0x10


def has_transactional_id(body: Body) -> bool:
    return body["transactionalId"] is not None


def has_no_transactional_id(body: Body) -> bool:
    return body["transactionalId"] is None


def has_transactional_batch(body: Body) -> bool:
    """Whether any record batch of a Produce request says that it belongs to a transaction.

    The broker decides by this and not by the request's transactional id (RequestUtils.hasTransactionalRecords). It
    looks at each partition's first batch, and refuses any further one; here all are looked at.
    """
    return any(
        is_transactional(partition["records"])
        for topic in paced(body["topicData"])
        for partition in paced(topic["partitionData"])
        if partition["records"] is not None
    )


def is_transactional(records: bytes | memoryview) -> bool:
    """Whether a batch among these records has the transactional attribute. What is no batch has not."""
    at, end = 0, len(records)
    while at + _ATTRIBUTES_END <= end:
        if records[at + _MAGIC_AT] >= _MAGIC and records[at + _ATTRIBUTES_END - 1] & _TRANSACTIONAL:
            return True
        length = int.from_bytes(records[at + 8 : at + _BATCH_PREFIX], "big", signed=True)
        if length <= 0:
            break
        at += _BATCH_PREFIX + length
    return False


def unanswered(work: Work) -> Plan | None:
    """acks=0: no answer can tell of a denial. The allowed part goes on; where nothing is left the connection closes."""
    if work.body["acks"] == 0 and work.denials and not work.forward["topicData"]:
        return Refuse(PRODUCE_UNANSWERED, "every topic of a request with acks=0 is denied")
    return None


def no_internal_topics(work: Work, items: Items, item: Any, name: str | None) -> Denial | None:
    """AddPartitionsToTxn: Kafka's own topics are denied without asking."""
    if name not in INTERNAL_TOPICS and work.view.allowed(TOPIC, items.operation, name or ""):
        return None
    return denial(TOPIC_AUTHORIZATION_FAILED)

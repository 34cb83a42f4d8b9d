"""What is particular to readers: replica ids, and fetch sessions (KIP-227).

A fetch session is the broker's memory of the partitions that a consumer wants: later requests name only what changed,
often nothing, and the broker checks every partition of the session each time. The gateway keeps no such memory. A
request that names a topic which is denied is asked without a session (epoch -1, which also closes one that is there):
the answer's session id is then 0, the client names everything again in its next fetch, and so is told of the denial
each time, as by the broker. What is answered in a session is checked by its topic all the same, since a right may
have been withdrawn since the topic was named.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.core.slices import paced
from gateway.kafka.errors import TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_ID
from gateway.kafka.plan import Answer, Body, Plan
from gateway.kafka.replies import whole
from gateway.kafka.rows import CLUSTER, CLUSTER_NAME, TOPIC, Work

CONSUMER = -1
"""The replica id of those that are none. -2 (debugging) would read what is not committed yet."""
FINAL_EPOCH = -1
IDS_FROM = 13

DENIED = MappingProxyType({"highWatermark": -1, "records": b""})
"""Of a partition that is not fetched (FetchResponse.partitionResponse)."""


def never_as_replica(work: Work) -> Plan | None:
    """A client that claims to be a broker is refused every topic; any other replica id becomes a consumer's.

    The broker would ask for ClusterAction. The gateway's clients are no brokers, whatever their rights.
    """
    state = work.body.get("replicaState")
    replica = work.body.get("replicaId", CONSUMER) if state is None else state["replicaId"]
    if replica > CONSUMER:
        work.view.allowed(CLUSTER, "ClusterAction", CLUSTER_NAME)
        return Answer(whole(work, TOPIC_AUTHORIZATION_FAILED))
    if "replicaId" in work.body and replica != CONSUMER:
        work.change(replicaId=CONSUMER)
    if state is not None and (replica != CONSUMER or state["replicaEpoch"] != -1):
        work.change(replicaState={"replicaId": CONSUMER, "replicaEpoch": -1})
    return None


def ask_as_consumer(work: Work) -> Plan | None:
    """ListOffsets, OffsetForLeaderEpoch: any other replica id would look past what consumers may see."""
    if work.body.get("replicaId", CONSUMER) != CONSUMER:
        work.change(replicaId=CONSUMER)
    return None


def no_session_for_denied(work: Work) -> Plan | None:
    """See the module's text."""
    if work.denials and work.forward.get("sessionEpoch", FINAL_EPOCH) != FINAL_EPOCH:
        work.change(sessionEpoch=FINAL_EPOCH, forgottenTopicsData=[])
    return None


def check_answer(work: Work, answer: Body) -> None:
    """No record of a topic that may not be read leaves the gateway; the client is then made to start a session anew."""
    by_id = work.version >= IDS_FROM
    withheld = False
    for topic in paced(answer["responses"]):
        name = work.view.topics.name(topic["topicId"]) if by_id else topic["topic"]
        if name is not None and work.view.allowed_quietly(TOPIC, "Read", name):
            continue
        error = TOPIC_AUTHORIZATION_FAILED if name is not None else UNKNOWN_TOPIC_ID
        found = [
            each for each in paced(topic["partitions"]) if each["errorCode"] != error or len(each["records"] or b"")
        ]
        if found and name is not None:
            work.view.allowed(TOPIC, "Read", name)  # which audits the denial
        for partition in paced(found):
            index = partition["partitionIndex"]
            partition.clear()
            partition.update(partitionIndex=index, errorCode=error, **DENIED)
        withheld = withheld or bool(found)
    if withheld and "sessionId" in answer:
        answer["sessionId"] = 0

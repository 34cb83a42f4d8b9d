"""Every API that the gateway offers and how it is decided: one row each, in the words of kafka.rows.

The table is closed: an API or version that is not in it is not advertised and not decided. The basis is the broker's
own handlers (KafkaApis, ControllerApis); tests/equivalence compares each row with a real broker's authorizer. The
session answers SaslHandshake, SaslAuthenticate and ApiVersions by itself. Read by kafka.authorize; OFFERED by all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from gateway.kafka import deciders, describing, fetching, metadata, producing, subscribing
from gateway.kafka.errors import (
    CLUSTER_AUTHORIZATION_FAILED,
    GROUP_AUTHORIZATION_FAILED,
    OPERATION_NOT_ATTEMPTED,
    TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
from gateway.kafka.rows import (
    CLUSTER,
    GROUP,
    TOPIC,
    TRANSACTIONAL_ID,
    Addresses,
    Check,
    Duplicates,
    Filter,
    Items,
    OperationBits,
    Parts,
    Row,
    Shape,
    Whole,
)

ANY_VERSION = (0, 0x7FFF)

READ_GROUP = Check(GROUP, "Read", GROUP_AUTHORIZATION_FAILED, "groupId")
WRITE_TRANSACTION = Check(TRANSACTIONAL_ID, "Write", TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactionalId")
OFFSETS = Parts("partitions", "partitionIndex", "partitions")
MIRROR = Whole(top=None, mirror=True)

DATA = (
    Row(0, "Produce", (3, 13), (
        Shape(
            first=3,
            checks=(replace(WRITE_TRANSACTION, only_if=producing.has_transactional_batch),),
            items=Items(
                "topicData", TOPIC, "Write", TOPIC_AUTHORIZATION_FAILED, "responses", topic_id="topicId", ids_from=13,
                parts=Parts(
                    "partitionData", "index", "partitionResponses", "index",
                    denied={"baseOffset": -1, "logAppendTimeMs": -1, "logStartOffset": -1},
                ),
            ),
            whole=MIRROR,
            after=(producing.unanswered,),
            answer=(Addresses("nodeEndpoints", first=10),),
        ),
    )),
    Row(1, "Fetch", (4, 18), (
        Shape(
            first=4,
            items=Items(
                "topics", TOPIC, "Read", TOPIC_AUTHORIZATION_FAILED, "responses", name="topic", topic_id="topicId",
                ids_from=13, echo=(("topic", "topic"), ("topicId", "topicId")), empty="forward",
                parts=Parts(
                    "partitions", "partition", "partitions", denied=fetching.DENIED,
                ),
            ),
            whole=MIRROR,
            before=(fetching.never_as_replica,),
            after=(fetching.no_session_for_denied,),
            answer=(Addresses("nodeEndpoints", first=16),),
            finish=(fetching.check_answer,),
        ),
    )),
    Row(2, "ListOffsets", (1, 11), (
        Shape(
            first=1,
            items=Items(
                "topics", TOPIC, "Describe", TOPIC_AUTHORIZATION_FAILED, "topics",
                parts=Parts("partitions", "partitionIndex", "partitions", denied={"timestamp": -1, "offset": -1}),
            ),
            before=(fetching.ask_as_consumer,),
        ),
    )),
    Row(23, "OffsetForLeaderEpoch", (2, 4), (
        Shape(
            first=2,
            items=Items(
                "topics", TOPIC, "Describe", TOPIC_AUTHORIZATION_FAILED, "topics", name="topic",
                echo=(("topic", "topic"),), unless=(CLUSTER, "ClusterAction"),
                parts=Parts("partitions", "partition", "partitions", "partition"),
            ),
            before=(fetching.ask_as_consumer,),
        ),
    )),
)  # fmt: skip
"""Records in and out, and where they are."""

CLUSTER_VIEWS = (
    Row(3, "Metadata", (0, 13), (
        Shape(
            first=0,
            items=Items(
                "topics", TOPIC, "Describe", TOPIC_AUTHORIZATION_FAILED, "topics", topic_id="topicId", ids_from=12,
                denied={"isInternal": False, "partitions": ()}, duplicates=Duplicates(once=True), empty="forward",
            ),
            whole=Whole(mirror=True, fields={"brokers": ()}),
            before=(metadata.refuse_ids_where_unsupported, metadata.names_or_ids),
            after=(metadata.create_first, metadata.never_create_by_asking),
            answer=(
                Filter("topics", TOPIC, "Describe", only_if=metadata.asks_for_all),
                OperationBits("topics", "topicAuthorizedOperations", TOPIC, "name",
                              "includeTopicAuthorizedOperations", (8, 13), healthy=False),
                OperationBits(None, "clusterAuthorizedOperations", CLUSTER, "",
                              "includeClusterAuthorizedOperations", (8, 10)),
                Addresses("brokers", ids=("controllerId",)),
            ),
            finish=(metadata.drop_what_was_not_asked,),
        ),
    )),
    Row(60, "DescribeCluster", (0, 2), (
        Shape(
            first=0,
            answer=(
                OperationBits(None, "clusterAuthorizedOperations", CLUSTER, "",
                              "includeClusterAuthorizedOperations", ANY_VERSION),
                Addresses("brokers", node="brokerId", ids=("controllerId",)),
            ),
        ),
    )),
    Row(75, "DescribeTopicPartitions", (0, 0), (
        Shape(
            first=0,
            items=Items(
                "topics", TOPIC, "Describe", TOPIC_AUTHORIZATION_FAILED, "topics",
                denied={"isInternal": False, "partitions": ()}, duplicates=Duplicates(once=True),
            ),
            whole=Whole(top=None, mirror=True),
            before=(describing.start_of_page, describing.all_by_name),
            after=(describing.page_of_allowed,),
            answer=(
                OperationBits("topics", "topicAuthorizedOperations", TOPIC, "name", None, ANY_VERSION, healthy=False),
            ),
        ),
    )),
    Row(10, "FindCoordinator", (0, 6), (
        Shape(
            first=0,
            before=(describing.coordinator_of_one,),
            whole=Whole(message="errorMessage", fields={"nodeId": -1, "host": "", "port": -1}),
            answer=(Addresses(None, lost="unavailable"),),
        ),
        Shape(
            first=4,
            items=Items(
                "coordinatorKeys", GROUP, "Describe", GROUP_AUTHORIZATION_FAILED, "coordinators", name=None,
                decide=deciders.coordinator_key, echo=(("", "key"),), order="as asked",
                denied={"nodeId": -1, "host": "", "port": -1},
            ),
            answer=(Addresses("coordinators", lost="unavailable"),),
        ),
    )),
)  # fmt: skip
"""What there is, and which broker has it."""

GROUPS = (
    Row(11, "JoinGroup", (0, 9), (
        Shape(
            first=0,
            checks=(READ_GROUP,),
            whole=Whole(fields={"protocolName": "", "leader": "", "memberId": "", "members": ()},
                        since=((7, {"protocolName": None}),)),
        ),
    )),
    Row(12, "Heartbeat", (0, 4), (Shape(first=0, checks=(READ_GROUP,)),)),
    Row(13, "LeaveGroup", (0, 5), (Shape(first=0, checks=(READ_GROUP,)),)),
    Row(14, "SyncGroup", (0, 5), (Shape(first=0, before=(describing.protocol_named,), checks=(READ_GROUP,)),)),
    Row(15, "DescribeGroups", (0, 6), (
        Shape(
            first=0,
            items=Items("groups", GROUP, "Describe", GROUP_AUTHORIZATION_FAILED, "groups", name=None,
                        echo=(("", "groupId"),), order="first"),
            answer=(OperationBits("groups", "authorizedOperations", GROUP, "groupId",
                                  "includeAuthorizedOperations", (3, 6)),),
        ),
    )),
    Row(16, "ListGroups", (0, 5), (
        Shape(first=0, answer=(Filter("groups", GROUP, "Describe", "groupId", unless=(CLUSTER, "Describe")),)),
    )),
    Row(42, "DeleteGroups", (0, 3), (
        Shape(
            first=0,
            items=Items("groupsNames", GROUP, "Delete", GROUP_AUTHORIZATION_FAILED, "results", name=None,
                        echo=(("", "groupId"),), duplicates=Duplicates(once=True)),
        ),
    )),
    Row(68, "ConsumerGroupHeartbeat", (0, 1), (
        Shape(
            first=0,
            checks=(READ_GROUP,),
            items=Items("subscribedTopicNames", TOPIC, "Describe", TOPIC_AUTHORIZATION_FAILED, "", name=None,
                        whole=True),
            after=(subscribing.no_expression,),
        ),
    )),
    Row(69, "ConsumerGroupDescribe", (0, 1), (
        Shape(
            first=0,
            items=Items("groupIds", GROUP, "Describe", GROUP_AUTHORIZATION_FAILED, "groups", name=None,
                        echo=(("", "groupId"),), order="first"),
            answer=(OperationBits("groups", "authorizedOperations", GROUP, "groupId",
                                  "includeAuthorizedOperations", ANY_VERSION),),
            finish=(describing.withhold_groups,),
        ),
    )),
)  # fmt: skip
"""Groups of consumers."""

_COMMITTED = Items(
    "topics", TOPIC, "Read", TOPIC_AUTHORIZATION_FAILED, "topics", topic_id="topicId", parts=OFFSETS, order="first",
    ids_from=10,
)  # fmt: skip
_FETCHED = Items(
    "topics", TOPIC, "Describe", TOPIC_AUTHORIZATION_FAILED, "topics", topic_id="topicId", ids_from=10, empty="forward",
    parts=Parts("partitionIndexes", None, "partitions",
                denied={"committedOffset": -1, "committedLeaderEpoch": -1, "metadata": ""}),
)  # fmt: skip
_DESCRIBE_GROUP = Check(GROUP, "Describe", GROUP_AUTHORIZATION_FAILED, "groupId")

OFFSETS_OF_GROUPS = (
    Row(8, "OffsetCommit", (2, 10), (Shape(first=2, checks=(READ_GROUP,), items=_COMMITTED, whole=MIRROR),)),
    Row(9, "OffsetFetch", (1, 10), (
        Shape(first=1, checks=(_DESCRIBE_GROUP,), items=_FETCHED, whole=MIRROR, finish=(describing.tell_of_one_group,)),
        Shape(first=2, checks=(_DESCRIBE_GROUP,), items=_FETCHED, finish=(describing.tell_of_one_group,)),
        Shape(
            first=8,
            items=Items("groups", GROUP, "Describe", GROUP_AUTHORIZATION_FAILED, "groups", name="groupId",
                        echo=(("groupId", "groupId"),), order="as asked", inner=_FETCHED),
            finish=(describing.tell_of_groups,),
        ),
    )),
    Row(47, "OffsetDelete", (0, 0), (
        Shape(
            first=0,
            checks=(Check(GROUP, "Delete", GROUP_AUTHORIZATION_FAILED, "groupId"),),
            items=Items("topics", TOPIC, "Read", TOPIC_AUTHORIZATION_FAILED, "topics", parts=OFFSETS, order="first",
                        empty="forward"),
        ),
    )),
)  # fmt: skip
"""What groups have consumed."""

TRANSACTIONS = (
    Row(22, "InitProducerId", (0, 5), (
        Shape(
            first=0,
            checks=(
                replace(WRITE_TRANSACTION, only_if=producing.has_transactional_id),
                Check(CLUSTER, "IdempotentWrite", CLUSTER_AUTHORIZATION_FAILED, any_of=(TOPIC, "Write"),
                      only_if=producing.has_no_transactional_id),
            ),
            whole=Whole(fields={"producerId": -1, "producerEpoch": -1}),
        ),
    )),
    Row(24, "AddPartitionsToTxn", (0, 3), (  # from v4 on brokers talk to each other
        Shape(
            first=0,
            checks=(replace(WRITE_TRANSACTION, path="v3AndBelowTransactionalId"),),
            items=Items("v3AndBelowTopics", TOPIC, "Write", TOPIC_AUTHORIZATION_FAILED, "resultsByTopicV3AndBelow",
                        parts=Parts("partitions", None, "resultsByPartition", error="partitionErrorCode"),
                        decide=producing.no_internal_topics, together=OPERATION_NOT_ATTEMPTED),
            whole=MIRROR,
        ),
    )),
    Row(25, "AddOffsetsToTxn", (0, 4), (Shape(first=0, checks=(WRITE_TRANSACTION, READ_GROUP)),)),
    Row(26, "EndTxn", (0, 5), (Shape(first=0, checks=(WRITE_TRANSACTION,)),)),
    Row(28, "TxnOffsetCommit", (0, 6), (
        Shape(
            first=0,
            checks=(WRITE_TRANSACTION, READ_GROUP),
            items=replace(_COMMITTED, ids_from=6),
            whole=MIRROR,
        ),
    )),
)  # fmt: skip
"""Producers' identities and transactions."""

_RESOURCES = Items(
    "resources", CLUSTER, "AlterConfigs", CLUSTER_AUTHORIZATION_FAILED, "responses", name="resourceName",
    decide=deciders.config_resource, message=True, order="as asked",
    echo=(("resourceName", "resourceName"), ("resourceType", "resourceType")),
    duplicates=Duplicates(once=False, message="Each resource must appear at most once."),
)  # fmt: skip

ADMINISTRATION = (
    Row(19, "CreateTopics", (2, 7), (
        Shape(
            first=2,
            items=Items("topics", TOPIC, "Create", TOPIC_AUTHORIZATION_FAILED, "topics", echo=(("name", "name"),),
                        unless=(CLUSTER, "Create"), denied={"errorMessage": "Authorization failed."},
                        duplicates=Duplicates(once=True, message="Duplicate topic name.")),
            finish=(describing.withhold_configs,),
        ),
    )),
    Row(20, "DeleteTopics", (1, 6), (
        Shape(
            first=1,
            items=Items("topicNames", TOPIC, "Delete", TOPIC_AUTHORIZATION_FAILED, "responses", name=None,
                        decide=deciders.deletion, echo=(("", "name"),), message=True,
                        duplicates=Duplicates(once=True, message="Duplicate topic name.")),
        ),
        Shape(
            first=6,
            items=Items("topics", TOPIC, "Delete", TOPIC_AUTHORIZATION_FAILED, "responses", topic_id="topicId",
                        ids_from=6, decide=deciders.deletion, message=True,
                        duplicates=Duplicates(once=True, message="Duplicate topic name.")),
        ),
    )),
    Row(37, "CreatePartitions", (0, 3), (
        Shape(
            first=0,
            items=Items("topics", TOPIC, "Alter", TOPIC_AUTHORIZATION_FAILED, "results", echo=(("name", "name"),),
                        duplicates=Duplicates(once=True, message="Duplicate topic name.")),
        ),
    )),
    Row(32, "DescribeConfigs", (1, 4), (
        Shape(
            first=1,
            items=replace(_RESOURCES, operation="DescribeConfigs", answers="results", order="last", duplicates=None),
            whole=Whole(top=None, mirror=True),
            before=(describing.known_resource_types,),
        ),
    )),
    Row(33, "AlterConfigs", (0, 2), (Shape(first=0, items=_RESOURCES),)),
    Row(44, "IncrementalAlterConfigs", (0, 1), (Shape(first=0, items=_RESOURCES),)),
)  # fmt: skip
"""Topics and configurations made, changed and deleted."""

TABLE: Mapping[int, Row] = MappingProxyType(
    {
        row.key: row
        for rows in (DATA, CLUSTER_VIEWS, GROUPS, OFFSETS_OF_GROUPS, TRANSACTIONS, ADMINISTRATION)
        for row in rows
    }
)

OFFERED: Mapping[int, tuple[int, int]] = MappingProxyType({key: row.versions for key, row in sorted(TABLE.items())})
"""API key -> the versions that the gateway decides."""

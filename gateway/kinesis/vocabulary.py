"""Kinesis' words in the policy language: streams and their enhanced fan-out consumers, operations as AWS calls them.

A stream is named by its name, never by its ARN, a consumer by its consumer name. Calls that name no stream
(ListStreams, DescribeLimits) show what `DescribeStreamSummary` allows of each stream, so they need no kind of
their own.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.core.vocabulary import Kind, System

_SUMMARY = frozenset({"DescribeStreamSummary", "ListShards"})

STREAM = Kind(
    name="stream",
    operations=frozenset(
        {
            "PutRecord", "PutRecords", "GetRecords", "GetShardIterator", "SubscribeToShard",
            "DescribeStream", "DescribeStreamSummary", "ListShards", "ListStreamConsumers", "ListTagsForStream",
            "CreateStream", "DeleteStream", "RegisterStreamConsumer",
            "AddTagsToStream", "RemoveTagsFromStream", "UpdateShardCount", "UpdateStreamMode", "MergeShards",
            "SplitShard", "IncreaseStreamRetentionPeriod", "DecreaseStreamRetentionPeriod",
            "EnableEnhancedMonitoring", "DisableEnhancedMonitoring", "StartStreamEncryption", "StopStreamEncryption",
        }
    ),
    verbs=MappingProxyType(
        {
            "produce": frozenset({"PutRecord", "PutRecords"}),
            "consume": frozenset({"GetRecords", "GetShardIterator", "SubscribeToShard"}),
            "create": frozenset({"CreateStream"}),
            "delete": frozenset({"DeleteStream"}),
            "describe": frozenset(
                {"DescribeStream", "DescribeStreamSummary", "ListShards", "ListStreamConsumers", "ListTagsForStream"}
            ),
            "alter": frozenset(
                {
                    "AddTagsToStream", "RemoveTagsFromStream", "UpdateShardCount", "UpdateStreamMode", "MergeShards",
                    "SplitShard", "IncreaseStreamRetentionPeriod",
                }
            ),
        }
    ),
    implied=MappingProxyType(
        {
            "PutRecord": _SUMMARY, "PutRecords": _SUMMARY, "GetShardIterator": _SUMMARY,
            "GetRecords": _SUMMARY | {"DescribeStream"}, "SubscribeToShard": _SUMMARY | {"DescribeStream"},
            "DescribeStream": _SUMMARY, "DeleteStream": _SUMMARY,
        }
    ),
    separators=".-_",
)  # fmt: skip

CONSUMER = Kind(
    name="consumer",
    operations=frozenset(
        {"SubscribeToShard", "DescribeStreamConsumer", "RegisterStreamConsumer", "DeregisterStreamConsumer"}
    ),
    verbs=MappingProxyType(
        {
            "consume": frozenset({"SubscribeToShard"}),
            "create": frozenset({"RegisterStreamConsumer"}),
            "delete": frozenset({"DeregisterStreamConsumer"}),
            "describe": frozenset({"DescribeStreamConsumer"}),
        }
    ),
    implied=MappingProxyType(
        {
            "SubscribeToShard": frozenset({"DescribeStreamConsumer"}),
            "RegisterStreamConsumer": frozenset({"DescribeStreamConsumer"}),
        }
    ),
    separators=".-_",
)

SYSTEM = System("kinesis", MappingProxyType({kind.name: kind for kind in (STREAM, CONSUMER)}))

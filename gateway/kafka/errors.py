"""Kafka's error codes, as far as the engine gives or reads them, and the broker's own words for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NONE = 0
UNKNOWN_TOPIC_OR_PARTITION = 3
COORDINATOR_NOT_AVAILABLE = 15
INCONSISTENT_GROUP_PROTOCOL = 23
TOPIC_AUTHORIZATION_FAILED = 29
GROUP_AUTHORIZATION_FAILED = 30
CLUSTER_AUTHORIZATION_FAILED = 31
INVALID_REQUEST = 42
POLICY_VIOLATION = 44
TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
OPERATION_NOT_ATTEMPTED = 55
UNKNOWN_TOPIC_ID = 100
INVALID_REGULAR_EXPRESSION = 128

MESSAGES: Mapping[int, str] = MappingProxyType(
    {
        COORDINATOR_NOT_AVAILABLE: "The coordinator is not available.",
        INVALID_REQUEST: (
            "This most likely occurs because of a request being malformed by the client library or the message was "
            "sent to an incompatible broker. See the broker logs for more details."
        ),
        TOPIC_AUTHORIZATION_FAILED: "Topic authorization failed.",
        GROUP_AUTHORIZATION_FAILED: "Group authorization failed.",
        CLUSTER_AUTHORIZATION_FAILED: "Cluster authorization failed.",
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Transactional Id authorization failed.",
        UNKNOWN_TOPIC_ID: "This server does not host this topic ID.",
    }
)
"""Some answers carry the error's text beside its code (org.apache.kafka.common.protocol.Errors)."""

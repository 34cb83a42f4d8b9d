"""What is filtered, rewritten and recomputed in the broker's answer, by the rules of a shape. Called by the engine."""

from __future__ import annotations

from gateway.core.slices import paced
from gateway.kafka.errors import COORDINATOR_NOT_AVAILABLE, MESSAGES, NONE
from gateway.kafka.plan import Body, View
from gateway.kafka.rows import (
    CLUSTER,
    CLUSTER_NAME,
    GROUP,
    TOPIC,
    Addresses,
    Filter,
    OperationBits,
    Rule,
    Work,
)

NOT_ASKED = -(1 << 31)
"""An authorized-operations field that was not asked for."""

_BITS = {
    "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8, "ClusterAction": 9,
    "DescribeConfigs": 10, "AlterConfigs": 11, "IdempotentWrite": 12,
}  # fmt: skip
_OPERATIONS = {
    TOPIC: ("Read", "Write", "Create", "Describe", "Delete", "Alter", "DescribeConfigs", "AlterConfigs"),
    GROUP: ("Read", "Describe", "Delete", "DescribeConfigs", "AlterConfigs"),
    CLUSTER: (
        "Create", "ClusterAction", "DescribeConfigs", "AlterConfigs", "IdempotentWrite", "Alter", "Describe",
    ),
}  # fmt: skip
"""Kind -> operations that exist on it (AclEntry.supportedOperations)."""


def applies(rule: Rule, work: Work) -> bool:
    """Whether the rule has anything to do in the answer to this request."""
    if isinstance(rule, Filter):
        return rule.only_if is None or rule.only_if(work.body)
    if isinstance(rule, Addresses):
        return work.version >= rule.first
    return rule.versions[0] <= work.version <= rule.versions[1] and (rule.asked is None or work.body[rule.asked])


def apply(rule: Rule, work: Work, answer: Body) -> None:
    """Do one rule on the answer, in place."""
    if isinstance(rule, Filter):
        _filter(rule, work.view, answer)
    elif isinstance(rule, Addresses):
        _readdress(rule, work.view, answer)
    else:
        _recompute(rule, work.view, answer)


def operation_bits(view: View, kind: str, name: str) -> int:
    """What the principal may do on a resource, as Kafka's bit field (AuthHelper.authorizedOperations)."""
    bits = 0
    for operation in _OPERATIONS[kind]:
        if view.allowed_quietly(kind, operation, name):
            bits |= 1 << _BITS[operation]
    return bits


def _filter(rule: Filter, view: View, answer: Body) -> None:
    if rule.unless is not None and view.allowed_quietly(*rule.unless, CLUSTER_NAME):
        return
    names = ((member, member[rule.name]) for member in paced(answer[rule.path]))
    answer[rule.path] = [
        member for member, name in names if name is not None and view.allowed_quietly(rule.kind, rule.operation, name)
    ]


def _readdress(rule: Addresses, view: View, answer: Body) -> None:
    members = [answer] if rule.path is None else answer[rule.path]
    kept = []
    for member in paced(members):
        if rule.lost == "unavailable" and member["errorCode"] != NONE:
            member["host"], member["port"] = "", -1
            kept.append(member)
            continue
        address = view.address(member[rule.node])
        if address is not None:
            member["host"], member["port"] = address.host, address.port
            kept.append(member)
        elif rule.lost == "unavailable":
            member.update(errorCode=COORDINATOR_NOT_AVAILABLE, host="", port=-1)
            if "errorMessage" in member:
                member["errorMessage"] = MESSAGES[COORDINATOR_NOT_AVAILABLE]
            member[rule.node] = -1
            kept.append(member)
    if rule.path is None:
        return
    answer[rule.path] = kept
    nodes = {member[rule.node] for member in paced(kept)}
    for field in rule.ids:
        if answer.get(field, -1) not in nodes | {-1}:
            answer[field] = min(nodes, default=-1)


def _recompute(rule: OperationBits, view: View, answer: Body) -> None:
    if rule.path is None:
        if answer.get("errorCode", NONE) == NONE:
            describes = view.allowed_quietly(CLUSTER, "Describe", CLUSTER_NAME)
            answer[rule.field] = operation_bits(view, CLUSTER, CLUSTER_NAME) if describes else 0
        return
    for member in paced(answer[rule.path]):
        if member[rule.name] is not None and (member["errorCode"] == NONE or not rule.healthy):
            member[rule.field] = operation_bits(view, rule.kind, member[rule.name])
        else:
            member[rule.field] = NOT_ASKED

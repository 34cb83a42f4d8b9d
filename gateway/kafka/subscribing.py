"""What is particular to members of KIP-848 groups: subscriptions by a regular expression (ConsumerGroupHeartbeat v1).

The broker would resolve the expression by the rights of whoever connects to it, which is the gateway: every topic
would match, and a member be assigned partitions that its principal may not even know of. So none is passed on. A
client's own library may still match names itself, as the classic group protocol does: it then sees allowed names only.
"""

from __future__ import annotations

from gateway.kafka.errors import INVALID_REGULAR_EXPRESSION
from gateway.kafka.plan import Answer, Plan
from gateway.kafka.rows import GROUP, Work

REFUSED = "This gateway passes on no regular expression that a broker would evaluate; subscribe to topics by name."


def no_expression(work: Work) -> Plan | None:
    """None and "" (no expression any more) pass; any other is refused with the broker's error for a bad one."""
    if not work.body.get("subscribedTopicRegex"):
        return None
    work.view.refused(GROUP, "Read", work.body["groupId"], "regular-expression")
    return Answer({"errorCode": INVALID_REGULAR_EXPRESSION, "errorMessage": REFUSED})

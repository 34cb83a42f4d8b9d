"""What is particular to descriptions: paging, answers that are withheld, requests with one key instead of a list."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from heapq import nsmallest

from gateway.core.slices import ordered, paced
from gateway.kafka import deciders
from gateway.kafka.errors import (
    INCONSISTENT_GROUP_PROTOCOL,
    INVALID_REQUEST,
    NONE,
    TOPIC_AUTHORIZATION_FAILED,
    UNKNOWN_TOPIC_OR_PARTITION,
)
from gateway.kafka.plan import Answer, Body, Plan, View
from gateway.kafka.replies import whole
from gateway.kafka.rows import GROUP, TOPIC, Items, Work

PROTOCOL_NAMED_FROM = 5
CONFIGS_ANSWERED_FROM = 5
IDS_OF_OFFSETS_FROM = 10
PAGE_MAX = 2_000
"""Topics that one page of all is asked for: as many partitions as a broker puts into one, if not told otherwise
(max.request.partition.size.limit)."""
TRIES = 3
"""To go through all topics before they are copied for it."""

_ONE_KEY = Items("key", GROUP, "Describe", 0, "", name=None)


def protocol_named(work: Work) -> Plan | None:
    """SyncGroup: from v5 on the broker asks for the protocol's type and name before it looks at rights."""
    body = work.body
    if work.version >= PROTOCOL_NAMED_FROM and (body["protocolType"] is None or body["protocolName"] is None):
        return Answer(whole(work, INCONSISTENT_GROUP_PROTOCOL))
    return None


def coordinator_of_one(work: Work) -> Plan | None:
    """FindCoordinator below v4 asks for one key."""
    why = deciders.coordinator_key(work, _ONE_KEY, work.body["key"], work.body["key"])
    return None if why is None else Answer(whole(work, why.error))


def known_resource_types(work: Work) -> Plan | None:
    """DescribeConfigs with a resource type that nobody knows is refused as a whole."""
    for resource in paced(work.body["resources"]):
        if resource["resourceType"] not in deciders.CONFIG_RESOURCE_TYPES:
            return Answer(whole(work, INVALID_REQUEST))
    return None


def tell_of_one_group(work: Work, answer: Body) -> None:
    """OffsetFetch until v7: one group's topics."""
    answer["topics"] = _told(work, work.forward["topics"], answer["topics"])


def tell_of_groups(work: Work, answer: Body) -> None:
    """OffsetFetch from v8 on: each group's topics."""
    asked = {group["groupId"]: group["topics"] for group in paced(work.forward["groups"])}
    answer["groups"] = [group for group in paced(answer["groups"]) if group["groupId"] in asked]
    for group in paced(answer["groups"]):
        group["topics"] = _told(work, asked[group["groupId"]], group["topics"])


def _told(work: Work, asked: list[Body] | None, answered: list[Body]) -> list[Body]:
    """Of the topics that a group's answer holds: those forwarded, or where all were asked for (null), those that may be
    described. Brokers exist that take the empty list, which is what is left when every topic is denied, for all."""
    name = "topicId" if work.version >= IDS_OF_OFFSETS_FROM else "name"
    if asked is not None:
        wanted = {topic[name] for topic in paced(asked)}
        return [topic for topic in paced(answered) if topic[name] in wanted]
    names = work.view.topics
    return [
        topic
        for topic in paced(answered)
        if (known := names.name(topic[name]) if name == "topicId" else topic[name]) is not None
        and work.view.allowed_quietly(TOPIC, "Describe", known)
    ]


def withhold_groups(work: Work, answer: Body) -> None:
    """ConsumerGroupDescribe: a group that has been given a topic that may not be described is not described at all."""
    for group in paced(answer["groups"]):
        names = {
            part["topicName"]
            for member in paced(group["members"])
            for assignment in (member["assignment"], member["targetAssignment"])
            for part in paced(assignment["topicPartitions"])
        }
        denied = [name for name in paced(ordered(names)) if not work.view.allowed(TOPIC, "Describe", name)]
        if denied:
            group_id = group["groupId"]
            group.clear()
            group.update(
                groupId=group_id,
                errorCode=TOPIC_AUTHORIZATION_FAILED,
                errorMessage="The group has described topic(s) that the client is not authorized to describe.",
            )


def withhold_configs(work: Work, answer: Body) -> None:
    """CreateTopics from v5 on: what a topic was made of takes DescribeConfigs on it."""
    if work.version < CONFIGS_ANSWERED_FROM:
        return
    for topic in paced(answer["topics"]):
        if topic["errorCode"] == NONE and not work.view.allowed_quietly(TOPIC, "DescribeConfigs", topic["name"]):
            topic["configs"] = []
            topic["numPartitions"] = topic["replicationFactor"] = -1
            topic["topicConfigErrorCode"] = TOPIC_AUTHORIZATION_FAILED


def start_of_page(work: Work) -> Plan | None:
    """DescribeTopicPartitions: a cursor names where to go on; of the topics asked for, earlier ones were answered."""
    cursor = work.body["cursor"]
    if cursor is None:
        return None
    topics = [topic for topic in paced(work.body["topics"]) if topic["name"] >= cursor["topicName"]]
    named = any(topic["name"] == cursor["topicName"] for topic in paced(topics))
    if cursor["partitionIndex"] < 0 or (work.body["topics"] and not named):
        return Answer(whole(work, INVALID_REQUEST))
    if len(topics) != len(work.body["topics"]):
        work.body = {**work.body, "topics": topics}
        work.change(topics=topics)
    return None


def all_by_name(work: Work) -> Plan | None:
    """DescribeTopicPartitions without topics means all: those that may be described are asked for by name.

    The broker fills a page with topics of every name and ends it with the name of the next; both would have to be
    withheld. Asked by name its pages hold, and its cursor names, only what the principal may see. It is asked for as
    many topics as one page can hold; the cursor to the next of them is the gateway's (`_go_on_behind`).
    """
    if work.body["topics"]:
        return None
    cursor = work.body["cursor"]
    page = min(PAGE_MAX, max(1, work.body["responsePartitionLimit"]))
    names = _first_of_all(work.view, "" if cursor is None else cursor["topicName"], page + 1)
    if not names:
        return Answer({"topics": []})
    topics = [{"name": name} for name in paced(names[:page])]
    work.body = {**work.body, "topics": topics}
    work.change(topics=topics)
    work.steps.append(_drop_missing)
    if len(names) > page:
        work.steps.append(partial(_go_on_behind, names[page]))
    return None


def _first_of_all(view: View, start: str, count: int) -> list[str]:
    """The first topics by name, from `start` on, that may be described; there may be a quarter of a million."""
    found: list[str] = []
    behind = False
    while len(found) < count:
        some = _first_known(view, start, behind, count)
        found += [name for name in paced(some) if view.allowed_quietly(TOPIC, "Describe", name)]
        if len(some) < count:
            break
        start, behind = some[-1], True
    return found[:count]


def _first_known(view: View, start: str, behind: bool, count: int) -> list[str]:
    """Whatever their rights. They are not copied for it: if some come or go between two slices, all is done again."""
    for _ in range(TRIES):
        with suppress(RuntimeError):  # so a dictionary says that it has changed
            return _first(paced(view.topics.names()), start, behind, count)
    return _first(list(view.topics.names()), start, behind, count)


def _first(names: Iterable[str], start: str, behind: bool, count: int) -> list[str]:
    """The first ones by name, from `start` on, itself among them unless the page begins behind it."""
    return nsmallest(count, (name for name in names if name > start or (name == start and not behind)))


def _go_on_behind(name: str, work: Work, answer: Body) -> None:
    """The broker has told of all that it was asked for: the next page begins with this topic."""
    if answer["nextCursor"] is None:
        answer["nextCursor"] = {"topicName": name, "partitionIndex": 0}


def _drop_missing(work: Work, answer: Body) -> None:
    """A topic deleted since its name was seen is no member of a list of all."""
    answer["topics"] = [topic for topic in paced(answer["topics"]) if topic["errorCode"] != UNKNOWN_TOPIC_OR_PARTITION]


def page_of_allowed(work: Work) -> Plan | None:
    """A cursor at a topic that is not asked for (any more) would be refused: the page then starts at the next one."""
    cursor = work.forward["cursor"]
    if cursor is not None and all(topic["name"] != cursor["topicName"] for topic in paced(work.forward["topics"])):
        work.change(cursor=None)
    return None

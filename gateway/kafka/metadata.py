"""What is particular to Metadata: asking by name, by id or for all, and topics that begin to exist by being asked for.

The broker creates a missing topic when a Metadata request names it (auto.create.topics.enable). Behind the gateway the
broker would do so with the gateway's rights: so it is never asked that way. What the principal may create is created
beforehand by a request of its own (plan.TopicsToCreate); what it may not is answered as the broker would.
"""

from __future__ import annotations

import re
from functools import partial

from gateway.core.slices import ordered, paced
from gateway.kafka.errors import INVALID_REQUEST, TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION
from gateway.kafka.plan import ZERO_ID, Answer, Body, Plan, TopicsToCreate, Wait
from gateway.kafka.replies import whole
from gateway.kafka.rows import CLUSTER, CLUSTER_NAME, TOPIC, Work

IDS_IN_BODY_FROM = 10
IDS_FROM = 12
CREATION_FIELD_FROM = 4
"""The first version that can say that nothing is to be created; older requests are asked at it."""

_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def asks_for_all(body: Body) -> bool:
    """All topics: null, or (v0, where null does not exist) none."""
    return body["topics"] is None


def refuse_ids_where_unsupported(work: Work) -> Plan | None:
    """v10 and v11 have the field and the broker refuses its use; so do null names."""
    if not IDS_IN_BODY_FROM <= work.version < IDS_FROM or work.body["topics"] is None:
        return None
    topics = work.body["topics"]
    if any(topic["name"] is None or topic["topicId"] != ZERO_ID for topic in paced(topics)):
        work.body = {**work.body, "topics": [{**topic, "name": topic["name"] or ""} for topic in paced(topics)]}
        return Answer(whole(work, INVALID_REQUEST))
    return None


def names_or_ids(work: Work) -> Plan | None:
    """One id among the topics, and the broker goes by ids alone: names beside it are not sent, nor decided upon.

    v0 spells "all topics" as none.
    """
    if work.version == 0 and not work.body["topics"]:
        work.body = {**work.body, "topics": None}
        work.change(topics=None)
    topics = work.body["topics"]
    if work.version < IDS_FROM or not topics or all(topic["topicId"] == ZERO_ID for topic in paced(topics)):
        return None
    by_id = [{**topic, "name": None} for topic in paced(topics) if topic["topicId"] != ZERO_ID]
    if len(by_id) != len(topics) or any(topic["name"] is not None for topic in paced(topics)):
        work.body = {**work.body, "topics": by_id}
        work.change(topics=by_id)
    return None


def create_first(work: Work) -> Plan | None:
    """Topics that the client wants created: ask for them once; refuse those that the principal may not create."""
    wanted = work.version < CREATION_FIELD_FROM or work.body["allowAutoTopicCreation"]
    view = work.view
    if not wanted or not view.auto_create_topics or not work.forward["topics"]:
        return None
    unknown = {
        topic["name"]
        for topic in paced(work.forward["topics"])
        if topic["name"] is not None and view.topics.topic_id(topic["name"]) is None
    }
    if not unknown:
        return None
    if view.allowed_quietly(CLUSTER, "Create", CLUSTER_NAME):
        creatable = unknown
    else:
        creatable = {name for name in paced(ordered(unknown)) if view.allowed_quietly(TOPIC, "Create", name)}
    asked = frozenset(name for name in paced(creatable) if is_topic_name(name) and name not in view.missing_names)
    if asked:
        return Wait(TopicsToCreate(view.backend, asked))
    refused = unknown - creatable
    if refused:
        work.steps.append(partial(_refuse_missing, refused))
    return None


def is_topic_name(name: str) -> bool:
    """Whether a topic could be called so (org.apache.kafka.common.internals.Topic.validate)."""
    return _TOPIC_NAME.fullmatch(name) is not None and name not in (".", "..")


def _refuse_missing(refused: set[str], work: Work, answer: Body) -> None:
    for topic in paced(answer["topics"]):
        if topic["errorCode"] == UNKNOWN_TOPIC_OR_PARTITION and topic["name"] in refused:
            work.view.allowed(TOPIC, "Create", topic["name"])
            topic["errorCode"] = TOPIC_AUTHORIZATION_FAILED
            topic["topicId"] = ZERO_ID
            topic.pop("topicAuthorizedOperations", None)


def never_create_by_asking(work: Work) -> Plan | None:
    if work.version < CREATION_FIELD_FROM:
        work.at_version = CREATION_FIELD_FROM
        work.change(allowAutoTopicCreation=False)
    elif work.body["allowAutoTopicCreation"]:
        work.change(allowAutoTopicCreation=False)
    return None


def drop_what_was_not_asked(work: Work, answer: Body) -> None:
    """Topics nobody asked for are dropped: brokers exist that take a list without topics for all topics.

    Such a list is what is left of a request whose every topic is denied, and the rest would be told all the same.
    """
    asked = work.forward["topics"]
    if asked is None:
        return
    names = {topic["name"] for topic in paced(asked)} - {None}
    ids = {topic.get("topicId", ZERO_ID) for topic in paced(asked)} - {ZERO_ID}
    answer["topics"] = [
        topic for topic in paced(answer["topics"]) if topic["name"] in names or topic.get("topicId", ZERO_ID) in ids
    ]

"""The engine: reads the table's row for a request and says what is to be done with it. Called by the session.

`plan` refuses, splits or passes a request: what is denied is answered as the broker would answer it, what is allowed
goes on (as the client's own bytes when nothing had to change), and both answers are merged. It is pure; where a fact
is missing it says so by a Wait and is asked again. Rights are asked for in the broker's order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.core.slices import emptied, paced
from gateway.kafka import rewrite
from gateway.kafka.errors import INVALID_REQUEST, NONE, UNKNOWN_TOPIC_ID
from gateway.kafka.plan import (
    ZERO_ID,
    Answer,
    Body,
    Finish,
    Forward,
    Plan,
    Refuse,
    TopicFactsWanted,
    TopicId,
    View,
    Wait,
)
from gateway.kafka.reasons import API_NOT_OFFERED, PRODUCE_UNANSWERED
from gateway.kafka.replies import denied_item, whole
from gateway.kafka.rows import CLUSTER_NAME, Check, Denial, Items, Step, Work, denial
from gateway.kafka.table import TABLE

Merge = Callable[[Body], None]


def plan(api_key: int, version: int, body: Body, view: View) -> Plan:
    """What is to be done with a request. `body` is not changed and must not be changed before the plan is finished."""
    row = TABLE.get(api_key)
    if row is None or not row.versions[0] <= version <= row.versions[1]:
        return Refuse(API_NOT_OFFERED, f"API {api_key} version {version}")
    return _plan(Work(row, row.shape(version), version, body, view, body))


def _plan(work: Work) -> Plan:
    refused = _steps(work.shape.before, work) or _checks(work)
    if refused is not None:
        return refused
    items = work.shape.items
    split = None
    if items is not None and work.body[items.path] is not None:
        unknown = _unknown_ids(items, work, work.body[items.path])
        if unknown:
            return Wait(TopicFactsWanted(work.view.backend, frozenset(), unknown))
        split = _split(items, work, work.body[items.path])
        work.denials = split.denials
        if split.denials:
            if items.whole:
                return _refuse(work, items.error)
            work.change(**{items.path: split.forward})
    settled = _steps(work.shape.after, work)
    if settled is None and split is not None and split.denied and not split.forward and items is not None:
        settled = _answer_all(items, split)
    if settled is None:
        return _forward(work, items, split)
    if split is not None:
        split.let_go()
    return settled


def _answer_all(items: Items, split: _Split) -> Answer | None:
    """What nothing of goes on is answered, but for APIs that say more than that."""
    if items.empty != "answer":
        return None
    return Answer({items.answers: [denied_item(items, item, why) for _, item, why in paced(split.denied)]})


def _steps(steps: Iterable[Step], work: Work) -> Plan | None:
    for step in steps:
        settled = step(work)
        if settled is not None:
            return settled
    return None


def _checks(work: Work) -> Plan | None:
    for check in work.shape.checks:
        if check.only_if is not None and not check.only_if(work.body):
            continue
        if not _has_right(check, work):
            return _refuse(work, check.error)
    return None


def _has_right(check: Check, work: Work) -> bool:
    view = work.view
    if check.any_of is not None and view.allowed_on_any(*check.any_of):
        return True
    name = CLUSTER_NAME if check.path is None else work.body[check.path]
    return name is not None and view.allowed(check.kind, check.operation, name)


def _refuse(work: Work, error: int) -> Plan:
    if work.body.get("acks") == 0:
        return Refuse(PRODUCE_UNANSWERED, "a request with acks=0 is denied as a whole")
    return Answer(whole(work, error))


@dataclass(slots=True)
class _Split:
    """A list decided: what goes on, and (position, item, why) of what does not. `inner` is by position in `forward`."""

    forward: list[Any] = field(default_factory=list)
    denied: list[tuple[int, Any, Denial]] = field(default_factory=list)
    inner: list[_Split] = field(default_factory=list)

    @property
    def denials(self) -> int:
        return len(self.denied) + sum(len(split.denied) for split in self.inner)

    def let_go(self) -> None:
        """It is of no further use: at tens of thousands of members that is a piece of work itself."""
        for split in paced(self.inner):
            split.let_go()
        emptied(self.inner)
        emptied(self.denied)


def _split(items: Items, work: Work, members: list[Any]) -> _Split:
    split = _Split()
    everything = items.unless is not None and work.view.allowed_quietly(*items.unless, CLUSTER_NAME)
    for position, item in enumerate(paced(members)):
        why = None if everything else _decide(items, work, item)
        if why is not None:
            split.denied.append((position, item, why))
        else:
            split.forward.append(item if items.inner is None else _split_inner(items.inner, work, item, split))
    if split.denied and items.together is not None:
        denied = {position: (item, why) for position, item, why in split.denied}
        other = Denial(items.together)
        split.denied = [(at, item, denied[at][1] if at in denied else other) for at, item in enumerate(paced(members))]
        split.forward = []
    if split.denied and items.duplicates is not None:
        _settle_duplicates(items, work, members, split)
    return split


def _split_inner(inner: Items, work: Work, item: Body, outer: _Split) -> Body:
    members = item[inner.path]
    split = _Split() if members is None else _split(inner, work, members)
    outer.inner.append(split)
    return {**item, inner.path: split.forward} if split.denied else item


def _decide(items: Items, work: Work, item: Any) -> Denial | None:
    topic_id = _topic_id(items, work, item)
    name = _name(items, work, item, topic_id)
    if items.decide is not None:
        return items.decide(work, items, item, name)
    if name is None:
        return denial(UNKNOWN_TOPIC_ID)
    return None if work.view.allowed(items.kind, items.operation, name) else denial(items.error)


def _topic_id(items: Items, work: Work, item: Any) -> TopicId:
    if items.topic_id is None or work.version < items.ids_from:
        return ZERO_ID
    topic_id: TopicId = item[items.topic_id]
    return topic_id


def _name(items: Items, work: Work, item: Any, topic_id: TopicId) -> str | None:
    if topic_id != ZERO_ID:
        return work.view.topics.name(topic_id)
    name: str | None = item if items.name is None else item.get(items.name)
    return name


def _unknown_ids(items: Items, work: Work, members: list[Any]) -> frozenset[TopicId]:
    """Topic ids that have to be asked for before anything can be decided."""
    inner = items.inner
    if inner is not None:
        lists = [item[inner.path] for item in paced(members) if item[inner.path] is not None]
        return frozenset().union(*(_unknown_ids(inner, work, each) for each in lists))
    if items.topic_id is None or work.version < items.ids_from:
        return frozenset()
    view = work.view
    ids = {_topic_id(items, work, item) for item in paced(members)} - {ZERO_ID}
    return frozenset(each for each in paced(ids) if each not in view.missing_ids and view.topics.name(each) is None)


def _settle_duplicates(items: Items, work: Work, members: list[Any], split: _Split) -> None:
    """Denied members that stand more than once are answered as the broker answers duplicates."""
    rule = items.duplicates
    assert rule is not None
    count = Counter(_identity(items, item) for item in paced(members))
    seen: set[object] = set()
    settled = []
    for position, item, why in paced(split.denied):
        identity = _identity(items, item)
        if count[identity] > 1:
            if rule.once and identity in seen:
                continue
            seen.add(identity)
        duplicate = count[identity] > 1 and rule.message is not None
        settled.append((position, item, Denial(INVALID_REQUEST, rule.message) if duplicate else why))
    before, split.denied = split.denied, settled
    emptied(before)
    emptied(count)
    emptied(seen)


def _identity(items: Items, item: Any) -> object:
    return item if items.name is None else tuple(item[field] for field, _ in items.echo if field in item)


def _forward(work: Work, items: Items | None, split: _Split | None) -> Forward:
    changed = work.forward is not work.body or work.at_version is not None
    merge = _merge(items, split) if items is not None and split is not None and split.denials else None
    rules = [rule for rule in work.shape.answer if rewrite.applies(rule, work)]
    finish: Finish | None = None
    if merge is not None or rules or work.steps or work.shape.finish or work.at_version is not None:

        def finish(answer: Body, view: View | None = None) -> Body:
            mine = work if view is None or view is work.view else replace(work, view=view)
            for rule in rules:
                rewrite.apply(rule, mine, answer)
            for check in mine.shape.finish:
                check(mine, answer)
            for step in mine.steps:
                step(mine, answer)
            if merge is not None:
                merge(answer)
            return answer

    return Forward(work.forward if changed else None, finish, work.at_version)


def _merge(items: Items, split: _Split) -> Merge:
    """Adds the denied answers to the broker's. An answer that is an error as a whole stays as it is."""

    def merge(answer: Body) -> None:
        if answer.get("errorCode", NONE) != NONE:
            return
        given = answer[items.answers]
        if items.inner is not None:
            for inner, member in paced(zip(split.inner, given, strict=False)):
                _merge(items.inner, inner)(member)
        replies = [(position, denied_item(items, item, why)) for position, item, why in paced(split.denied)]
        if items.order == "as asked":
            answer[items.answers] = _in_place(given, replies)
        elif items.order == "first":
            given[:0] = [reply for _, reply in replies]
        else:
            given.extend(reply for _, reply in replies)

    return merge


def _in_place(given: list[Any], replies: list[tuple[int, Body]]) -> list[Any]:
    """The broker's answers with the others among them, each at its position or, where there are too few, at the end."""
    merged: list[Any] = []
    taken = 0
    for position, reply in paced(replies):
        more = position - len(merged)
        if more > 0:
            merged += given[taken : taken + more]
            taken += more
        merged.append(reply)
    return merged + given[taken:]

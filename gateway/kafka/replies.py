"""Denials in the broker's own words: answers for single items and for whole requests. Called by the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.slices import paced
from gateway.kafka.errors import MESSAGES
from gateway.kafka.plan import Body
from gateway.kafka.rows import Denial, Items, Whole, Work, denial


def denied_item(items: Items, item: Any, why: Denial) -> Body:
    """The answer's member for one denied member of the request."""
    reply = _fresh(items.denied)
    for field, answer_field in items.echo:
        if not field:
            reply[answer_field] = item
        elif field in item:
            reply[answer_field] = item[field]
    if items.parts is None:
        reply["errorCode"] = why.error
        if items.message or why.message != MESSAGES.get(why.error):
            reply["errorMessage"] = why.message
    else:
        reply[items.parts.answers] = [
            {
                items.parts.answer_index: part if items.parts.index is None else part[items.parts.index],
                items.parts.error: why.error,
                **_fresh(items.parts.denied),
            }
            for part in paced(item[items.parts.path])
        ]
    reply.update(why.fields)
    return reply


def whole(work: Work, error: int) -> Body:
    """The answer to a request that is refused as a whole."""
    form: Whole = work.shape.whole
    body = _fresh(form.fields)
    for first, fields in form.since:
        if work.version >= first:
            body.update(_fresh(fields))
    if form.top is not None:
        body[form.top] = error
    if form.message is not None:
        body[form.message] = MESSAGES.get(error)
    items = work.shape.items
    if form.mirror and items is not None:
        members = paced(work.body[items.path] or ())
        body[items.answers] = [denied_item(items, item, denial(error)) for item in members]
    return body


def _fresh(fields: Mapping[str, Any]) -> Body:
    """A copy whose lists are its own; rows spell an empty list as ()."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

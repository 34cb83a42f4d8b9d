"""The decision about one REST request.

    target -> parts (target) -> row (table) -> resources (named) -> rights (view) -> Passed, written anew, or Refused

Whatever is not in the table is refused: unknown paths (404), methods (405), parameters (412). I/O-free; the HTTP
session is the one caller.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.reasons import Reason
from gateway.core.session_reasons import NOT_ALLOWED
from gateway.pulsar import names, reasons
from gateway.pulsar.authorize import BROKERS_OWN
from gateway.pulsar.handles import Access
from gateway.pulsar.rest import bodies, named
from gateway.pulsar.rest.door import Door
from gateway.pulsar.rest.results import Decision, Needs, Passed, Refused, said
from gateway.pulsar.rest.routes import Answer, Need, Reads, Row, bound
from gateway.pulsar.rest.shapes import shape
from gateway.pulsar.rest.table import ROUTES
from gateway.pulsar.rest.target import Target, read, write
from gateway.pulsar.view import View

CLOSED = "closed"
"""Why of a denial: no role can be given that route."""
_OWN_TENANT = "pulsar"
_CREATING = "checkAllowAutoCreation"
_BY_PARAMETER = {"replicated": Need("topic", "Replicate"), "metadata": Need("brokers", "GetBookies")}
"""What a parameter that is true needs besides: a subscription is copied to other clusters; bookies' addresses show."""
_COORDINATORS = ("topic", "Lookup", names.TRANSACTION_COORDINATORS)
"""Asked for by whoever is about to begin a transaction, as by a lookup of the binary protocol (traffic)."""
_CREATORS = ("Produce", "Consume", "Create")
"""Who may look a topic's partitions up makes none by that, unless it may do one of these (traffic, likewise)."""


def decide(
    method: str, target: bytes, view: View, *, door: Door | None = None, body: bytes | None = None
) -> Decision:  # fmt: skip
    """What becomes of it. door: where lookups lead; None: nowhere. body: only after Needs.

    Every denial is written to the audit here, what is allowed is summed."""
    asked = read(target)
    if asked is None:
        return _refused(400, reasons.REST_TARGET, "HTTP 400 Bad Request")
    closed = ROUTES.closed_by(asked.segments)
    if closed is not None:
        view.denials.begin("/".join(("", *closed.prefix)))
        view.refused("route", method, "/".join(("", *closed.prefix)), CLOSED)
        view.denials.end()
        return _refused(403, reasons.REST_CLOSED, closed.words)
    rows = ROUTES.find(asked.segments)
    row = rows.get(method)
    if row is None:
        status, words = (405, "HTTP 405 Method Not Allowed") if rows else (404, "HTTP 404 Not Found")
        return _refused(status, reasons.REST_UNKNOWN, words)
    view.denials.begin(row.route, again=body is not None)
    try:
        return _decided(row, asked, view, door, body)
    finally:
        view.denials.end()


def _decided(row: Row, asked: Target, view: View, door: Door | None, body: bytes | None) -> Decision:
    values = bound(row.template, asked.segments)
    query = dict(asked.parameters)
    if not named.sound(values, named.PATH) or not named.sound(query, named.QUERY) or not query.keys() <= row.query:
        return _refused(412, reasons.REST_TARGET, "a name or a parameter is not valid", route=row.route)
    accesses = _accesses(row, values, query)
    if accesses is None:
        return _refused(412, reasons.REST_TARGET, "a name is not valid", route=row.route)
    before_transactions = accesses == (_COORDINATORS,)
    for access in accesses:
        if _brokers_own(access) and not before_transactions:
            view.refused(*access, BROKERS_OWN)
            return _refused(row.denied, NOT_ALLOWED, "Unauthorized", accesses, row.route)
    written = None
    if row.reads is not Reads.NOTHING:
        if body is None:  # what the path alone asks for is decided before a body is taken
            return Needs(row.body_max, row.route) if view.allowed(*accesses) else _denied(row, accesses)
        more = bodies.asked(row.reads, body, values)
        if more is None:
            return _refused(412, reasons.REST_TARGET, "the body is not valid", accesses, row.route)
        accesses, written = (*accesses, *more.accesses), more.written
    if not before_transactions and not view.allowed(*accesses):
        return _denied(row, accesses)
    if row.answer is Answer.LOOKUP and door is None:
        return _refused(501, reasons.REST_LOOKUP, "look up by pulsar+ssl://", accesses, row.route)
    if query.get(_CREATING) == "true" and not any(
        view.quietly(accesses[0][0], each, accesses[0][2]) for each in _CREATORS
    ):
        query[_CREATING] = "false"
    kept = tuple((name, value) for name, value in query.items() if name not in named.DROPPED)
    shaped = shape(row.answer, view, values, door)
    body_max = row.body_max
    return Passed(row.method, write(asked.segments, kept), body_max, shaped, accesses, row.route, written)


def _accesses(row: Row, values: Mapping[str, str], query: Mapping[str, str]) -> tuple[Access, ...] | None:
    needs = row.needs if query.get("force") != "true" else (*row.needs, *row.forced)
    found = []
    more = (need for name, need in _BY_PARAMETER.items() if query.get(name) == "true")
    for need in (*needs, *more):
        name = named.resource(need, row.template, {**query, **values})
        if name is None:
            return None
        found.append((need.kind, need.operation, name))
    return tuple(found)


def _brokers_own(access: Access) -> bool:
    kind, _, name = access
    if kind == "topic":
        return names.brokers_own(name)
    return kind in ("namespace", "tenant") and name.partition("/")[0] == _OWN_TENANT


def _denied(row: Row, accesses: tuple[Access, ...]) -> Refused:
    return _refused(row.denied, NOT_ALLOWED, "Unauthorized", accesses, row.route)


def _refused(
    status: int, reason: Reason, words: str, checks: tuple[Access, ...] = (), route: str = ""
) -> Refused:  # fmt: skip
    return Refused(status, said(words), reason, checks, route)

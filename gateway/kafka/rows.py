"""The words in which kafka.table says how one API is decided. Data only; kafka.authorize reads it.

A row has one or more shapes, as a request changes its form from some version on. A shape is read from top to bottom:

    before   named functions for what no other API does (they may settle the request by themselves)
    checks   rights that the whole request needs, in the broker's order; the first that is missing refuses all of it
    items    the list in the request whose members are decided one by one, and how a denied member is answered
    after    named functions again, once it is known what is denied
    answer   what is filtered, rewritten or recomputed in the broker's answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from gateway.kafka.errors import MESSAGES
from gateway.kafka.plan import Body, Plan, View

TOPIC = "topic"
GROUP = "group"
TRANSACTIONAL_ID = "transactional-id"
CLUSTER = "cluster"
CLUSTER_NAME = "kafka-cluster"

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class Work:
    """One request on its way through the engine.

    body: what the client sent, never changed; forward: what the broker is to be sent, the same object until something
    had to change. steps are done on the broker's answer, in order, after the shape's own rules (the work that they are
    given has the view of the connection that is answered). denials counts items.
    """

    row: Row
    shape: Shape
    version: int
    body: Body
    view: View
    forward: Body
    at_version: int | None = None
    steps: list[Callable[[Work, Body], None]] = field(default_factory=list)
    denials: int = 0

    def change(self, **fields: Any) -> None:
        """Send these fields instead of the client's."""
        self.forward = {**self.forward, **fields}


Step = Callable[[Work], Plan | None]


@dataclass(frozen=True, slots=True)
class Denial:
    """Why one item is not forwarded: the code and text it is answered with, and fields that differ from the rest."""

    error: int
    message: str | None = None
    fields: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


def denial(error: int, **fields: Any) -> Denial:
    """A denial in the broker's own words for the error."""
    return Denial(error, MESSAGES.get(error), fields)


@dataclass(frozen=True, slots=True)
class Check:
    """A right that the whole request needs: `operation` on the resource named by `path`, or on the cluster.

    only_if: asked of the body first; the check is left out where it says no. any_of: a kind and operation that, on
    any resource at all, does as well.
    """

    kind: str
    operation: str
    error: int
    path: str | None = None
    only_if: Callable[[Body], bool] | None = None
    any_of: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The partitions of a topic: where they are in the request, and how each is answered.

    index None: the request's list holds the numbers themselves. denied: fields of a denied partition beside its error.
    """

    path: str
    index: str | None
    answers: str
    answer_index: str = "partitionIndex"
    error: str = "errorCode"
    denied: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What the broker makes of a denied name that stands more than once in the request.

    once: one answer for all of them. message: they are answered as INVALID_REQUEST with these words; None: as denied.
    """

    once: bool
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """The list at `path` in the request, whose members are decided one by one, and `answers` in the answer.

    name: a member's field with the resource's name; None where the members are the names. topic_id: its field with a
    topic id, which is what the broker goes by from `ids_from` on. decide: another way to decide than by `operation`
    on the name. unless: (kind, operation) on the cluster that allows every item. echo: fields of a member that its
    answer repeats, request field to answer field. parts: the error is per partition. denied: further fields of a
    denied answer; message: it carries the error's words. order: where denied answers stand among the broker's.
    together: the error of the allowed items when any is denied (all or nothing); whole: then the whole is refused.
    empty: what to do when nothing is left, ask the broker all the same or answer at once. inner: a list inside each
    allowed member, decided the same way; its denied answers are added unless the member's answer has an error.
    """

    path: str
    kind: str
    operation: str
    error: int
    answers: str
    name: str | None = "name"
    topic_id: str | None = None
    ids_from: int = 0
    decide: Callable[[Work, Items, Any, str | None], Denial | None] | None = None
    unless: tuple[str, str] | None = None
    echo: tuple[tuple[str, str], ...] = (("name", "name"), ("topicId", "topicId"))
    parts: Parts | None = None
    denied: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    message: bool = False
    order: Literal["last", "first", "as asked"] = "last"
    duplicates: Duplicates | None = None
    together: int | None = None
    whole: bool = False
    empty: Literal["answer", "forward"] = "answer"
    inner: Items | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """How a request looks that is refused as a whole.

    top: the answer's own error field, None if it has none. message: its field for the error's words. fields: further
    fields; since: the same from a version on, later ones over earlier ones. mirror: every item of the request is
    answered with the error.
    """

    top: str | None = "errorCode"
    message: str | None = None
    fields: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    since: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Members of an answer's list that are dropped in silence unless `operation` on their name is allowed.

    only_if: asked of the request. unless: (kind, operation) on the cluster that shows everything.
    """

    path: str
    kind: str
    operation: str
    name: str = "name"
    only_if: Callable[[Body], bool] | None = None
    unless: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Broker addresses in an answer, at `path` (None: in the answer itself), each by its node id.

    lost: what becomes of a node that clients of this listener cannot reach: it is dropped from the list, or answered
    as a coordinator that is not available. ids: fields of the answer that name the controller; if clients cannot reach
    that node they are told one that they can, since every broker of a KRaft cluster passes on what is the controller's.
    """

    path: str | None
    node: str = "nodeId"
    lost: Literal["drop", "unavailable"] = "drop"
    first: int = 0
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OperationBits:
    """An authorized-operations field, recomputed from the principal's own rights (KIP-430).

    path: the list whose members have it, None: the answer itself (then it is of the cluster and needs Describe there).
    asked: the request's field that asks for it, None: always. healthy: only for members without an error.
    """

    path: str | None
    field: str
    kind: str
    name: str
    asked: str | None
    versions: tuple[int, int]
    healthy: bool = True


Rule = Filter | Addresses | OperationBits


@dataclass(frozen=True, slots=True)
class Shape:
    """How requests of one form are decided, from version `first` on until the next shape. See the module's text."""

    first: int
    checks: tuple[Check, ...] = ()
    items: Items | None = None
    whole: Whole = Whole()
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    answer: tuple[Rule, ...] = ()
    finish: tuple[Callable[[Work, Body], None], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One API: its key, the versions the gateway offers, and its shapes, the oldest first."""

    key: int
    name: str
    versions: tuple[int, int]
    shapes: tuple[Shape, ...]

    def shape(self, version: int) -> Shape:
        """The shape of a version that the row offers."""
        return next(shape for shape in reversed(self.shapes) if shape.first <= version)

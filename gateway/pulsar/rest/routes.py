"""What a row of the table says of one route, and which row a path belongs to.

Closed: a path that no row has is no route. Where the templates of several rows fit a path, the broker (Jersey) takes
the one with more literal text; a path for which that is not plain, segment by segment, is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


class Answer(Enum):
    """What is done with the answer to an allowed request."""

    UNREAD = auto()
    """Passes as it is."""
    TOPICS = auto()
    """A list of topics: those that may be looked up."""
    NAMESPACES = auto()
    TENANTS = auto()
    CLUSTERS = auto()
    SUBSCRIPTIONS = auto()
    """Lists, filtered likewise."""
    STATS = auto()
    """Stand without addresses, and without the subscriptions that may not be described."""
    POLICIES = auto()
    """A namespace's policies, without the grants and the keys of storage in them."""
    ADDRESSES = auto()
    """A cluster's data, without the brokers' addresses."""
    LOOKUP = auto()
    """A broker's addresses: the gateway's own take their place."""


class Reads(Enum):
    """What a decision reads in a request's body."""

    NOTHING = auto()
    PERMISSIONS = auto()
    """A list of topics and roles: each topic is asked for."""
    NAMESPACE = auto()
    """A namespace's first policies: grants in it are asked for."""
    MESSAGES = auto()
    """Messages to be produced."""
    PROPERTIES = auto()
    """A topic's properties, or how many partitions it has and these: none that brokers keep for themselves."""
    POSITION = auto()
    """Where a new subscription begins, and its properties: likewise."""
    LABELS = auto()
    """A subscription's properties."""


@dataclass(frozen=True, slots=True)
class Need:
    """An operation on the resource of this kind that the path names (names.of)."""

    kind: str
    operation: str


@dataclass(frozen=True, slots=True)
class Row:
    method: str
    template: str
    needs: tuple[Need, ...]
    query: frozenset[str] = frozenset()
    body_max: int = 0
    answer: Answer = Answer.UNREAD
    reads: Reads = Reads.NOTHING
    denied: int = 403
    """The status of a denial."""
    forced: tuple[Need, ...] = ()
    """What ``force=true`` needs besides."""

    @property
    def route(self) -> str:
        return f"{self.method} {self.template}"


@dataclass(frozen=True, slots=True)
class Closed:
    """Whatever begins so is refused."""

    prefix: tuple[str, ...]
    words: str


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    rows: dict[str, Row] = field(default_factory=dict)


Fitting = tuple[tuple[bool, ...], dict[str, Row]]
"""(which segments are literal, rows by method)"""


class Routes:
    """All rows; made once. Raises ValueError for two rows of the same route."""

    def __init__(self, rows: Iterable[Row], closed: Iterable[Closed]) -> None:
        self.closed = tuple(closed)
        self._root = _Node()
        for row in rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        node = self._root
        for segment in parts(row.template):
            if is_variable(segment):
                node.variable = node = node.variable or _Node()
            else:
                node = node.literals.setdefault(segment, _Node())
        if row.method in node.rows:
            raise ValueError(f"{row.route} is in the table twice")
        node.rows[row.method] = row

    def closed_by(self, segments: tuple[str, ...]) -> Closed | None:
        for each in self.closed:
            if segments[: len(each.prefix)] == each.prefix:
                return each
        return None

    def find(self, segments: tuple[str, ...]) -> Mapping[str, Row]:
        """The rows, by method, of the template that the broker would take; none for no or no plain one."""
        fitting = list(_fitting(self._root, segments, ()))
        for literal, rows in fitting:
            if all(
                all(mine or not theirs for mine, theirs in zip(literal, other, strict=True)) for other, _ in fitting
            ):
                return rows
        return {}


def _fitting(node: _Node, segments: tuple[str, ...], literal: tuple[bool, ...]) -> Iterable[Fitting]:
    if len(literal) == len(segments):
        if node.rows:
            yield literal, node.rows
        return
    following = node.literals.get(segments[len(literal)])
    if following is not None:
        yield from _fitting(following, segments, (*literal, True))
    if node.variable is not None:
        yield from _fitting(node.variable, segments, (*literal, False))


def parts(template: str) -> tuple[str, ...]:
    return tuple(template.split("/")[1:])


def is_variable(segment: str) -> bool:
    return segment.startswith("{")


def bound(template: str, segments: tuple[str, ...]) -> dict[str, str]:
    """The variables of a template and what a path has in their places."""
    pairs = zip(parts(template), segments, strict=True)
    return {written[1:-1]: segment for written, segment in pairs if is_variable(written)}

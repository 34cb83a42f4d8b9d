"""Name patterns: literal, prefix (``payments.*``), glob (``*.pii``) and claims set into them (``${claims.team}``).

A pattern is parsed once, filled with an identity's claims, and becomes a *shape*: its literal parts between the
stars. ``("a",)`` is the literal ``a``, ``("a.", "")`` the prefix ``a.*``, ``("", ".pii")`` the glob ``*.pii``. A
claim's value goes into a part, never between parts, so it can never act as a star.

`PatternMap` finds what belongs to a name: literals by hash, prefixes by one walk along a radix tree, and only those
globs whose literal head the walk has passed, each in one pass without going back. There is no regular expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")

Shape = tuple[str, ...]
"""The literal parts between stars; never empty."""

PATTERN_LENGTH_MAX = 1000
CLAIM_LENGTH_MAX = 1000
ANY_NAME = "\0"
"""Stands for a star where a pattern is looked up as if it were a name; no pattern or claim may contain it."""


class Star(Enum):
    STAR = "*"


@dataclass(frozen=True, slots=True)
class ClaimSlot:
    """``${claims.<path>}``; `until` is the separator that follows it, "" at the pattern's end."""

    path: str
    until: str


class PatternMistake(Exception):
    """(found, expected)"""

    args: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pattern:
    text: str
    pieces: tuple[str | ClaimSlot | Star, ...]

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(piece.path for piece in self.pieces if isinstance(piece, ClaimSlot))


def parse_pattern(text: str, separators: str) -> Pattern:
    """Raises PatternMistake. After a claim comes one of the kind's separators, or the end.

    Without that, team ``a`` would reach what belongs to team ``ab`` by ``${claims.team}*``.
    """
    if not 0 < len(text) <= PATTERN_LENGTH_MAX:
        raise PatternMistake(f"{len(text)} characters", f"1 to {PATTERN_LENGTH_MAX} characters")
    if has_controls(text):
        raise PatternMistake("a control character", "printable characters")
    if "**" in text:
        raise PatternMistake("**", "a single *; it stands for any characters, also none")
    pieces: list[str | ClaimSlot | Star] = []
    at = 0
    while at < len(text):
        if text[at] == "*":
            pieces.append(Star.STAR)
            at += 1
        elif text.startswith("${", at):
            slot, at = _slot(text, at, separators)
            pieces.append(slot)
        else:
            ends = [end for end in (text.find("*", at), text.find("${", at)) if end >= 0]
            end = min(ends, default=len(text))
            pieces.append(text[at:end])
            at = end
    return Pattern(text, tuple(pieces))


def _slot(text: str, at: int, separators: str) -> tuple[ClaimSlot, int]:
    end = text.find("}", at)
    inner = text[at + 2 : end] if end >= 0 else ""
    path = inner.removeprefix("claims.")
    if path == inner or not path or not all(path.split(".")):
        raise PatternMistake(text[at : end + 1 if end >= 0 else None], "${claims.NAME}")
    until = text[end + 1 : end + 2]
    if until and until not in separators:
        expected = f"one of {' '.join(separators)} or the end" if separators else "the end of the pattern"
        raise PatternMistake(f"{until!r} right after ${{{inner}}}", expected)
    return ClaimSlot(path, until), end + 1


def has_controls(text: str) -> bool:
    return any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text)


def fits(slot: ClaimSlot, value: object) -> bool:
    """Whether a claim's value may stand in the slot: one non-empty string without the separator that follows it."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= CLAIM_LENGTH_MAX
        and not (slot.until and slot.until in value)
        and not has_controls(value)
    )


def fill(pattern: Pattern, claim: Callable[[str], object], *, widen: bool) -> Shape | None:
    """The pattern with `claim(path)` set into it.

    A value that does not fit gives None: the pattern does not apply. With `widen`, for denies, a star stands in its
    place instead: what cannot be told apart is denied.
    """
    parts = [""]
    for piece in pattern.pieces:
        if isinstance(piece, str):
            parts[-1] += piece
        elif piece is Star.STAR:
            parts.append("")
        else:
            value = claim(piece.path)
            if isinstance(value, str) and fits(piece, value):
                parts[-1] += value
            elif widen:
                parts.append("")
            else:
                return None
    return tuple(parts)


def covers(shape: Shape, name: str) -> bool:
    """Whether the shape matches the name. Each character is looked at once: every part is taken at its first place."""
    head, tail = shape[0], shape[-1]
    if len(shape) == 1:
        return name == head
    end = len(name) - len(tail)
    if end < len(head) or not name.startswith(head) or not name.endswith(tail):
        return False
    at = len(head)
    for part in shape[1:-1]:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def as_name(shape: Shape) -> str:
    """The shape as a name in which `ANY_NAME` stands for the stars.

    Another shape that covers this name covers everything this shape matches, since only a star can take `ANY_NAME`.
    """
    return ANY_NAME.join(shape)


class _Node(Generic[T]):
    __slots__ = ("edges", "globs", "prefixed")

    def __init__(self) -> None:
        self.edges: dict[str, tuple[str, _Node[T]]] = {}
        self.prefixed: list[T] = []
        self.globs: list[tuple[Shape, T]] = []


class PatternMap(Generic[T]):
    """Shapes and what belongs to them. `shapes` keeps the distinct ones, in the order they were added."""

    __slots__ = ("_literals", "_root", "shapes")

    def __init__(self) -> None:
        self._literals: dict[str, list[T]] = {}
        self._root: _Node[T] = _Node()
        self.shapes: dict[Shape, T] = {}

    def add(self, shape: Shape, item: T) -> None:
        self.shapes.setdefault(shape, item)
        if len(shape) == 1:
            self._literals.setdefault(shape[0], []).append(item)
        elif len(shape) == 2 and not shape[1]:
            self._node(shape[0]).prefixed.append(item)
        else:
            self._node(shape[0]).globs.append((shape, item))

    def find(self, name: str) -> Iterator[T]:
        """All items whose shape matches: literals, then prefixes and globs from the shortest head on."""
        yield from self._literals.get(name, ())
        node, at = self._root, 0
        while True:
            yield from node.prefixed
            for shape, item in node.globs:
                if covers(shape, name):
                    yield item
            edge = node.edges.get(name[at : at + 1])
            if edge is None or not name.startswith(edge[0], at):
                return
            node = edge[1]
            at += len(edge[0])

    def first(self, name: str) -> T | None:
        return next(self.find(name), None)

    def _node(self, head: str) -> _Node[T]:
        """The tree's node for a literal head, made if need be; an edge holds as many characters as are shared."""
        node, at = self._root, 0
        while at < len(head):
            edge = node.edges.get(head[at])
            if edge is None:
                made: _Node[T] = _Node()
                node.edges[head[at]] = (head[at:], made)
                return made
            label, child = edge
            shared = len(label) if head.startswith(label, at) else _shared(label, head, at)
            if shared < len(label):
                fork: _Node[T] = _Node()
                fork.edges[label[shared]] = (label[shared:], child)
                node.edges[head[at]] = (label[:shared], fork)
                child = fork
            node = child
            at += shared
        return node


def _shared(label: str, head: str, at: int) -> int:
    most = min(len(label), len(head) - at)
    return next((index for index in range(most) if label[index] != head[at + index]), most)

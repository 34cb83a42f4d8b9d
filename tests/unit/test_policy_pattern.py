"""Patterns: shapes, the map that finds them, and that a glob looks at each character once."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.policy.pattern import ANY_NAME, PatternMap, as_name, covers, fill, parse_pattern


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a", ("a",)),
        ("a*", ("a", "")),
        ("*", ("", "")),
        ("*a", ("", "a")),
        ("a*b*c", ("a", "b", "c")),
        ("a$b", ("a$b",)),
    ],
)
def test_shapes(text: str, shape: tuple[str, ...]) -> None:
    assert fill(parse_pattern(text, "."), lambda path: None, widen=False) == shape


@pytest.mark.parametrize(
    ("shape", "name", "covered"),
    [
        (("a", "a"), "a", False),
        (("a", "a"), "aa", True),
        (("a", "b", "a"), "aba", True),
        (("", "ab", "b"), "ab", False),
        (("", "a", "a", ""), "a", False),
        (("", "a", "a", ""), "aa", True),
        (("", "ab", "ab"), "abab", True),
        (("",), "", True),
    ],
)
def test_covers(shape: tuple[str, ...], name: str, covered: bool) -> None:
    assert covers(shape, name) is covered


class Counting(str):
    """A name that counts the characters that searches in it look at."""

    steps = 0

    def find(self, part: str, *bounds: Any) -> int:  # type: ignore[override]
        found = super().find(part, *bounds)
        start, end = bounds
        self.steps += (found + len(part) if found >= 0 else end) - start
        return found

    def startswith(self, part: Any, *bounds: Any) -> bool:
        self.steps += len(part)
        return super().startswith(part, *bounds)

    def endswith(self, part: Any, *bounds: Any) -> bool:
        self.steps += len(part)
        return super().endswith(part, *bounds)


@pytest.mark.parametrize("length", [100, 1000, 10_000])
@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*a*b", "a*a*a*a*a*a*a*b*", "*ab*ab*ab*ab*ab*c*"])
def test_a_glob_looks_at_each_character_once(pattern: str, length: int) -> None:
    shape = tuple(pattern.split("*"))
    for name in (Counting("a" * length), Counting("ab" * (length // 2)), Counting("a" * (length - 1) + "b")):
        covers(shape, name)
        assert name.steps <= length + len(pattern)


def test_the_map_walks_only_the_length_of_the_name() -> None:
    """However many prefixes there are, a look-up passes at most one node per character."""
    found: PatternMap[int] = PatternMap()
    for number in range(5000):
        found.add((f"team{number}.", ""), number)
    name = Counting("team4711.orders")
    assert list(found.find(name)) == [4711]
    assert name.steps <= 2 * len(name)


def test_the_map_with_heads_that_fork() -> None:
    found: PatternMap[str] = PatternMap()
    for text in ("abcd*", "ab*", "abce*", "*", "abcd*x", "b*", "ab", "abcd", "*d"):
        found.add(tuple(text.split("*")), text)
    assert list(found.find("abcd")) == ["abcd", "*", "*d", "ab*", "abcd*"]
    assert list(found.find("ab")) == ["ab", "*", "ab*"]
    assert list(found.find("abcx")) == ["*", "ab*"]
    assert list(found.find("")) == ["*"]
    assert found.first("zz") == "*"


def test_a_shape_as_a_name_is_covered_only_by_stars() -> None:
    assert as_name(("a", "b")) == f"a{ANY_NAME}b"
    assert covers(("a", ""), as_name(("a", "b")))
    assert not covers(("axb",), as_name(("a", "b")))

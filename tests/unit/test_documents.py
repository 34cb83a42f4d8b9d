"""core.documents: YAML read strictly, every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from gateway.core import documents
from gateway.core.documents import Mistakes, parse, spell, typed


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int
    on: bool = False


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: tuple[Inner, ...] = ()


def refused(text: str | bytes) -> documents.Mistake:
    with pytest.raises(Mistakes) as caught:
        parse(text, "f.yaml")
    assert len(caught.value.mistakes) == 1
    return caught.value.mistakes[0]


def test_scalars_stay_strings() -> None:
    document = parse("a: on\nb: 0123\nc: no\nd: 1e3\ne: 2027-01-01\nf:\ng: ''\n", "f.yaml")
    assert document.data == {
        "a": "on", "b": "0123", "c": "no", "d": "1e3", "e": "2027-01-01", "f": None, "g": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a second time"),
        ("a: 1\nb:\n  c: 1\n  c: 2", 4, "a second time"),
        ("a: &x 1", 1, "anchor"),
        ("a: &x 1\nb: *x", 1, "anchor"),
        ("a: *x", 1, "alias"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("a: !custom x", 1, "tag"),
        ("{[1, 2]: 3}", 1, "not a plain word"),
        ("<<: {a: 1}", 1, "merge"),
        ("a: [1", 1, "expected"),
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        (b"a: 1\nb: \xff", 2, "UTF-8"),
        ("a: \x01", 0, "broken YAML"),
    ],
)
def test_refused_with_its_line(text: str | bytes, line: int, found: str) -> None:
    mistake = refused(text)
    assert (mistake.line, found in mistake.found) == (line, True), mistake


def test_depth_at_the_maximum_and_one_past_it() -> None:
    parse("[" * documents.DEPTH_MAX + "]" * documents.DEPTH_MAX, "f.yaml")
    assert "levels" in refused("[" * (documents.DEPTH_MAX + 1) + "]" * (documents.DEPTH_MAX + 1)).found


def test_size_at_the_maximum_and_one_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_BYTES_MAX", 10)
    assert parse("a: 1234567", "f.yaml").data == {"a": "1234567"}
    assert "11 bytes" in refused("a: 12345678").found


def test_all_mistakes_at_once_each_at_its_line() -> None:
    document = parse("inner:\n  - size: x\n    extra: 1\n  - on: maybe\n", "f.yaml")
    with pytest.raises(Mistakes) as caught:
        typed(Outer, document)
    assert [(mistake.line, mistake.where) for mistake in caught.value.mistakes] == [
        (1, "name"), (2, "inner[0].size"), (3, "inner[0].extra"), (4, "inner[1].size"), (4, "inner[1].on"),
    ]  # fmt: skip
    assert str(caught.value.mistakes[1]).startswith("f.yaml:2: inner[0].size: found 'x'; expected ")


def test_strings_are_typed_by_the_schema() -> None:
    made = typed(Outer, parse("name: '0123'\ninner: [{size: 5, on: on}]", "f.yaml"))
    assert made == Outer(name="0123", inner=(Inner(size=5, on=True),))


def test_spelling_of_a_path() -> None:
    assert spell(("listeners", 0, "tls", "key")) == "listeners[0].tls.key"
    assert spell(()) == ""


ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "conf").glob("*.yaml")) + sorted((ROOT / "policies").glob("*.yaml"))
SPELLINGS = [
    "a: 'it''s'\nb: \"x\\ty\"\nc: [1, 'two', {d: e}]\nf: >\n  folded\n  text\ng: |-\n  kept\n  lines\nh:\n",
    "a:\nb: ~\nc: ''\nd: null\ne: 'null'\nf: [~, '']\n",
    "a: {b: c:d, e: f#g, h: 'i'}\nj: # nothing\nk: 2001:db8::/32\nl: 0123\nm: on\no: x\n",
    'é: ü\n"quoted key": 1\n? plain\n: value\n',
    "list:\n- a\n-  b\n-\n  c: d\n  e: f\n",
]


@pytest.mark.skipif(documents._Quick is None, reason="PyYAML without libyaml reads by itself alone")
@pytest.mark.parametrize("text", [path.read_text() for path in SHIPPED] + SPELLINGS)
def test_libyaml_reads_what_pyyaml_reads(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = documents.parse(text, "x.yaml")
    monkeypatch.setattr(documents, "_Quick", None)
    assert documents.parse(text, "x.yaml") == quick

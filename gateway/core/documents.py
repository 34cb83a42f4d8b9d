"""YAML as operators write it, read strictly: every mistake with its file and line, all of them at once.

Data and lines are made in one go over libyaml's events, where PyYAML has it, which takes a fifth of the time; a policy
of thousands of rules is noticed by it. Whatever is unusual there is read again the long way, whose words are told: then
PyYAML composes nodes, and the walk over them is our own. Scalars stay strings until a schema types them, so ``on``,
``no`` and ``0123`` are names here. Refused: duplicate keys, aliases and anchors, tags, several documents, keys that
are not plain scalars, and files over `FILE_BYTES_MAX`. Used by the configuration and the policies.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_Quick: Any = getattr(yaml, "CBaseLoader", None)
FILE_BYTES_MAX = 4 * 1024 * 1024
DEPTH_MAX = 32

Path = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a file: where, what was found, what is expected. `line` is 1-based, 0 if unknown."""

    file: str
    line: int
    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        at = f" {self.where}:" if self.where else ""
        return f"{place}:{at} found {self.found}; expected {self.expected}"


class Mistakes(Exception):
    """Everything wrong with a set of files."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: `data` of dict, list and str (None for an empty value), and the line of every path."""

    file: str
    data: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of a path, or of its nearest known parent."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Bad(Exception):
    """(line, where, found, expected)"""

    args: tuple[int, str, str, str]


def parse(text: str | bytes, file: str) -> Document:
    """Parse one YAML document. Raises Mistakes."""

    def fail(line: int, where: str, found: str, expected: str) -> Mistakes:
        return Mistakes([Mistake(file, line, where, found, expected)])

    if isinstance(text, str):
        text = text.encode()
    if len(text) > FILE_BYTES_MAX:
        raise fail(0, "", f"{len(text)} bytes", f"at most {FILE_BYTES_MAX} bytes")
    try:
        source = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail(text[: error.start].count(b"\n") + 1, "", "a byte that is not UTF-8", "UTF-8 text") from None
    quick = _read_quickly(source)
    if quick is not None:
        return Document(file, *quick)
    try:
        node = _composed(source)
    except _Bad as bad:
        raise fail(*bad.args) from None
    except yaml.composer.ComposerError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise fail(line, "", "another document", "a single YAML document") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise fail(line, "", *_broken(error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise fail(0, "", f"broken YAML ({type(error).__name__})", "YAML") from None
    if node is None:
        raise fail(1, "", "an empty file", "a mapping")
    lines: dict[Path, int] = {}
    try:
        data = _plain(node, (), lines)
    except _Bad as bad:
        raise fail(*bad.args) from None
    return Document(file, data, lines)


class _Unusual(Exception):
    """For the long way to judge."""


def _read_quickly(source: str) -> tuple[Any, dict[Path, int]] | None:
    """(data, lines) of one plain document; None if it has to be read the long way."""
    if _Quick is None:
        return None
    lines: dict[Path, int] = {}
    try:
        events = yaml.parse(source, Loader=_Quick)
        before = [type(next(events)), type(next(events))]
        if before != [yaml.StreamStartEvent, yaml.DocumentStartEvent]:
            return None
        data = _from_events(next(events), events, (), lines, 0)
        after = [type(next(events)), type(next(events))]
    except (yaml.YAMLError, RecursionError, StopIteration, _Unusual):
        return None
    return (data, lines) if after == [yaml.DocumentEndEvent, yaml.StreamEndEvent] else None


def _from_events(event: Any, events: Iterator[Any], path: Path, lines: dict[Path, int], depth: int) -> Any:
    """The value that begins with this event. Raises _Unusual."""
    kind = type(event)
    if kind is yaml.AliasEvent or event.anchor is not None or event.tag is not None:
        raise _Unusual
    lines[path] = _line(event)
    if kind is yaml.ScalarEvent:
        value = event.value
        return None if not event.style and value in ("", "~", "null") else value
    if depth == DEPTH_MAX:
        raise _Unusual
    if kind is yaml.SequenceStartEvent:
        items: list[Any] = []
        while type(event := next(events)) is not yaml.SequenceEndEvent:
            items.append(_from_events(event, events, (*path, len(items)), lines, depth + 1))
        return items
    made: dict[str, Any] = {}
    while type(key := next(events)) is not yaml.MappingEndEvent:
        if type(key) is not yaml.ScalarEvent or key.anchor is not None or key.tag is not None:
            raise _Unusual
        name = key.value
        if name in made or (name == "<<" and not key.style):
            raise _Unusual
        here = (*path, name)
        made[name] = _from_events(next(events), events, here, lines, depth + 1)
        lines[here] = _line(key)
    return made


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line


def _composed(source: str) -> yaml.Node | None:
    """The document's nodes, the long way."""
    _refuse_references(source)
    return yaml.compose(source, Loader=yaml.SafeLoader)


def _broken(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """What was found and what is expected where the text is no YAML; PyYAML's own words only where they help."""
    problem = error.problem or "no YAML"
    if error.context in ("while scanning an alias", "while scanning an anchor"):
        return "a word that starts with * or & outside quotes", 'quotes around it, as in "*.events"'
    if "'\\t'" in problem:
        return "a tab", "spaces"
    return f"broken YAML ({problem})", "a bracket, quote, colon or indentation that is missing here or just before"


def _refuse_references(source: str) -> None:
    depth = 0
    for event in yaml.parse(source, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise _Bad(line, "", f"the alias *{event.anchor}", "the value written out; aliases are not read")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _Bad(line, "", f"the anchor &{event.anchor}", "no anchors")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise _Bad(line, "", f"more than {DEPTH_MAX} levels", f"at most {DEPTH_MAX} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise _Bad(line, "", f"the tag {event.tag}", "no tags")


def _plain(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        empty = not node.style and node.value in ("", "~", "null")
        return None if empty else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    made: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _Bad(line, spell(path), "a key that is not a plain word", "a plain word")
        if key.value == "<<" and not key.style:
            raise _Bad(line, spell(path), "the merge key <<", "the value written out")
        if key.value in made:
            raise _Bad(line, spell((*path, key.value)), "the key a second time", "each key once")
        made[key.value] = _plain(value, (*path, key.value), lines)
        lines[(*path, key.value)] = line
    return made


def spell(path: Path) -> str:
    """``("listeners", 0, "tls")`` as ``listeners[0].tls``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def typed(model: type[M], document: Document) -> M:
    """The document as a pydantic model. Raises Mistakes with every error, each at its line."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        places = [each["loc"] for each in found]
        own = [each for each in found if not (each["type"] == "too_short" and _explained(each["loc"], places))]
        mistakes = [_mistake(model, document, each) for each in own]
        raise Mistakes(sorted(mistakes, key=lambda mistake: mistake.line)) from None


def _explained(place: Path, places: list[Path]) -> bool:
    """A list that is too short only because its items were refused: the items' mistakes say enough."""
    return any(other[: len(place)] == place and len(other) > len(place) for other in places)


def _mistake(model: type[BaseModel], document: Document, error: ErrorDetails) -> Mistake:
    path = error["loc"]
    known: Path = ()
    for part in path:  # a union's branch names are in `loc` but not in the file
        if (*known, part) in document.lines:
            known = (*known, part)
    found = error["input"]
    kind = error["type"]
    if kind == "missing":
        where = spell((*known, path[-1]))
        return Mistake(document.file, document.line(known), where, "nothing", _required(model, (*known, path[-1])))
    if kind == "extra_forbidden" or _mistyped(model, known):
        expected = _expected_keys(keys_at(model, known[:-1]), str(known[-1]))
        return Mistake(document.file, document.line(known), spell(known), "an unknown key", expected)
    shown = (
        f"{found!r:.60}"
        if isinstance(found, str | int | float)
        else "nothing"
        if found is None
        else f"a {_noun(found)}"
    )
    if kind == "too_short":
        return Mistake(document.file, document.line(known), spell(known), "an empty list", "at least one item")
    return Mistake(document.file, document.line(known), spell(known), shown, _wanted(error))


_WANTED = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a mapping, as in `name: value`"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list, as in [a, b]"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "text",
}
"""Pydantic's error type -> what an operator would call it."""


def _wanted(error: ErrorDetails) -> str:
    if error["type"] in _WANTED:
        return _WANTED[error["type"]]
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if message.startswith(("greater than", "less than")):
        return f"a value {message}"
    return message if message[1:2].isupper() else message[:1].lower() + message[1:]  # TLS stays TLS


def _required(model: type[BaseModel], path: Path) -> str:
    """What a key that is missing should hold, and what it is for, as far as its field says so."""
    for field in _fields(model, path):
        value = " or ".join(map(str, get_args(field.annotation))) if get_origin(field.annotation) is Literal else ""
        about = f": {field.description}" if field.description else ""
        return f"{value or 'a value'}; it is required{about.rstrip('.')}"
    return "a value; it is required"


def _fields(model: type[BaseModel], path: Path) -> list[FieldInfo]:
    """The fields that a path names; of a union, those of every branch."""
    return [
        field
        for each in _models_at(model, path[:-1])
        for name, field in each.model_fields.items()
        if path[-1] == (field.alias or name)
    ]


def _mistyped(model: type[BaseModel], path: Path) -> bool:
    """Whether a key that its model takes for one of its extra ones is a field's name misspelt."""
    if not path or not isinstance(path[-1], str) or _fields(model, path):
        return False
    taking = [each for each in _models_at(model, path[:-1]) if each.model_config.get("extra") == "allow"]
    return any(difflib.get_close_matches(path[-1], each.model_fields, n=1) for each in taking)


def keys_at(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """The keys a model knows at a path, as they are written in files; of a union, those of every branch."""
    models = _models_at(model, path)
    return tuple(dict.fromkeys(field.alias or name for each in models for name, field in each.model_fields.items()))


def _models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    here: list[Any] = [model]
    for part in path:
        here = [inside for annotation in here for inside in _inside(annotation, part)]
    return [each for annotation in here for each in _models(annotation)]


def _inside(annotation: Any, part: str | int) -> list[Any]:
    """The types of what a part of a path leads to: a model's field, a mapping's value, a list's item."""
    if _is_model(annotation):
        fields = annotation.model_fields.items()
        return [field.annotation for name, field in fields if part == (field.alias or name)]
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [arguments[1]]
    if isinstance(origin, type) and issubclass(origin, tuple | list):
        return [each for each in arguments if each is not Ellipsis] if isinstance(part, int) else []
    return [inside for each in arguments for inside in _inside(each, part)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The model, or models of a union, that a type annotation stands for."""
    if _is_model(annotation):
        return [annotation]
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping | tuple | list):
        return []
    return [found for each in get_args(annotation) for found in _models(each)]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _expected_keys(known: tuple[str, ...], found: str) -> str:
    if not known:
        return "no such key"
    listed = "one of " + ", ".join(known)
    close = difflib.get_close_matches(found, known, n=1)
    return f"{close[0]!r} (did you mean that?); {listed}" if close else listed


def _noun(value: object) -> str:
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list) else type(value).__name__

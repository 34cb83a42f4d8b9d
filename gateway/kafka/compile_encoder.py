"""Turn the shape of a message into a Python function that writes it.

It takes a body whose structs have exactly the fields of the version and returns the parts to join. It raises
Incomplete for another body, and one of compile_source.FAULTS for a value that does not fit its field.
`encoder_source` gives its text, for reading. The sliced form goes through its lists by core.slices.paced.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from gateway.core.slices import JOINED_AT_ONCE as PARTS_MAX
from gateway.core.slices import gathered, paced
from gateway.kafka.compile_source import Source
from gateway.kafka.primitives import TEXT_MAX, written
from gateway.kafka.schema.shape import FORMATS, SIZES, Form, Shape

Encode = Callable[[dict[str, Any]], list[Any]]


class Incomplete(Exception):
    """A struct to be encoded lacks fields or has others; kafka.codec completes it and tries again."""


def extra(body: dict[str, Any], fields: int) -> dict[int, bytes] | None:
    """The unknown tagged fields of a struct that does not have exactly `fields` known ones. Raises Incomplete."""
    if len(body) != fields + 1 or "_tags" not in body:
        raise Incomplete
    tags: dict[int, bytes] = body["_tags"]
    return tags


def joined(tagged: dict[int, bytes], unknown: dict[int, Any] | None) -> bytes:
    """The tagged fields of a struct as bytes, ascending (KIP-482). Raises ValueError on a tag that is given twice."""
    if unknown:
        if not tagged.keys().isdisjoint(unknown):
            raise ValueError("an unknown tagged field has a known field's tag")
        tagged = {**tagged, **unknown}
    parts = [written(len(tagged))]
    for tag in sorted(tagged):
        parts += (written(tag), written(len(tagged[tag])), tagged[tag])
    return b"".join(parts)


def encoder(shape: Shape, label: str, sliced: bool) -> Encode:
    writer = _source(shape, sliced)
    extras = {
        "Incomplete": Incomplete, "extra": extra, "joined": joined, "written": written, "pack": struct.pack,
        "paced": paced, "gathered": gathered,
        "OCTET": [bytes((value,)) for value in range(128)],
    }  # fmt: skip
    made: Encode = writer.build(f"encode {label}", extras, "pack")
    return made


def encoder_source(shape: Shape, sliced: bool) -> str:
    return "\n".join(_source(shape, sliced).lines)


def _source(shape: Shape, sliced: bool) -> Source:
    writing = _Encoding(sliced)
    writer = writing.writer
    writer.put("def run(b):")
    writer.depth = 1
    writer.put("parts = []", "put = parts.append")
    if sliced:  # many small parts in one list are looked through by the garbage collector, all at once
        writer.put("runs = []")
    writing.struct(shape, "b")
    writing.flush()
    writer.put("return parts" if not sliced else "return runs + list(gathered(parts))")
    return writer


class _Encoding:
    """Writes an encoder. In its text: b the body, put appends a part."""

    def __init__(self, sliced: bool) -> None:
        self.writer = Source()
        self.sliced = sliced
        self.loop = "for {} in paced({}):" if sliced else "for {} in {}:"
        self.run: list[tuple[str, str]] = []
        self.sink = "put"

    def fixed(self, kind: str, expression: str) -> None:
        # a bool is packed as a number, since "?" would take any object's truth
        self.run.append((expression, "b" if kind == "bool" else FORMATS[kind]))

    def flush(self) -> None:
        if not self.run:
            return
        letters = "".join(letter for _, letter in self.run)
        values = ", ".join(expression for expression, _ in self.run)
        self.writer.put(f"{self.sink}({self.writer.packer(letters)}({values}))")
        self.run = []

    def varint(self, expression: str) -> None:
        self.flush()
        name = self.writer.name("n")
        self.writer.put(f"{name} = {expression}", f"{self.sink}(OCTET[{name}] if {name} < 128 else written({name}))")

    def struct(self, shape: Shape, source: str) -> None:
        writer = self.writer
        count = len(shape.places) + len(shape.tagged)
        if shape.flexible:
            unknown = writer.name("u")
            writer.put(f"{unknown} = None if len({source}) == {count} else extra({source}, {count})")
        else:
            unknown = ""
            writer.put(f"if len({source}) != {count}: raise Incomplete")
        for place in shape.places:
            self.value(place.form, f"{source}[{place.name!r}]")
        if shape.flexible:
            self.flush()
            self.tags(shape, source, unknown)

    def tags(self, shape: Shape, source: str, unknown: str) -> None:
        writer = self.writer
        tagged = writer.name("t")
        if not shape.tagged:
            writer.put(f"{self.sink}(b'\\0' if {unknown} is None else joined({{}}, {unknown}))")
            return
        writer.put(f"{tagged} = None")
        outer = self.sink
        for place in shape.tagged:
            value = writer.name("v")
            writer.put(f"{value} = {source}[{place.name!r}]", f"if {value} != {place.default!r}:")
            writer.depth += 1
            parts, put = writer.name("parts"), writer.name("put")
            writer.put(f"{parts} = []", f"{put} = {parts}.append")
            self.sink = put
            self.value(place.form, value)
            self.flush()
            self.sink = outer
            writer.put(f"if {tagged} is None: {tagged} = {{}}", f"{tagged}[{place.tag}] = b''.join({parts})")
            writer.depth -= 1
        writer.put(
            f"if {tagged} is None and {unknown} is None: {self.sink}(b'\\0')",
            f"else: {self.sink}(joined({tagged} or {{}}, {unknown}))",
        )

    def value(self, form: Form, source: str) -> None:
        if form.kind == "uuid":
            name = self.writer.name("v")
            # "16s" would pad or cut another length
            self.writer.put(f"{name} = {source}", f"if len({name}) != 16: raise ValueError('a uuid is 16 bytes')")
            self.fixed(form.kind, name)
        elif form.kind in FORMATS:
            self.fixed(form.kind, source)
        elif form.kind == "struct":
            shape = form.shape
            assert shape is not None
            self.optional(form, source, lambda name: self.struct(shape, name))
        elif form.kind == "array":
            self.optional(form, source, lambda name: self.array(form, name))
        else:
            self.optional(form, source, lambda name: self.sized(form, name))

    def optional(self, form: Form, source: str, write: Callable[[str], None]) -> None:
        writer = self.writer
        value = writer.name("v")
        writer.put(f"{value} = {source}")
        if not form.nullable:
            write(value)
            return
        # both branches write on their own, so nothing pending may straddle them
        self.flush()
        writer.put(f"if {value} is None: {self.sink}({_null(form)!r})", "else:")
        writer.depth += 1
        if form.kind == "struct":
            self.fixed("int8", "1")
        write(value)
        self.flush()
        writer.depth -= 1

    def length(self, form: Form, count: str) -> None:
        if form.compact:
            self.varint(f"{count} + 1")
        else:
            self.fixed("int16" if form.kind == "string" else "int32", count)

    def sized(self, form: Form, value: str) -> None:
        writer = self.writer
        if form.kind == "string":
            data = writer.name("e")
            writer.put(f"{data} = {value}.encode()")
            if form.compact:
                writer.put(f"if len({data}) > {TEXT_MAX}: raise ValueError('a string that is too long')")
            value = data
        self.length(form, f"len({value})")
        self.flush()
        writer.put(f"{self.sink}({value})")

    def array(self, form: Form, value: str) -> None:
        writer = self.writer
        element = form.element
        assert element is not None
        self.length(form, f"len({value})")
        self.flush()
        if element.kind in SIZES and element.kind != "uuid":
            letter = "b" if element.kind == "bool" else FORMATS[element.kind]
            writer.put(f"{self.sink}(pack(f'>{{len({value})}}{letter}', *{value}))")
            return
        item = writer.name("i")
        writer.put(self.loop.format(item, value))
        writer.depth += 1
        self.value(element, item)
        self.flush()
        if self.sliced and self.sink == "put":
            writer.put(f"if len(parts) > {PARTS_MAX}: runs += gathered(parts); parts.clear()")
        writer.depth -= 1


def _null(form: Form) -> bytes:
    if form.kind == "struct":
        return b"\xff"
    if form.compact:
        return b"\0"
    return b"\xff\xff" if form.kind == "string" else b"\xff\xff\xff\xff"

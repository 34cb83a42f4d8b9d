"""Turn the shape of a message into a Python function that reads it.

It takes the body's bytes (its last byte is the body's last) and how many array elements it may build, and returns
(body, end of what was read). It raises Malformed, or one of compile_source.FAULTS, which the codec turns into
Malformed. `decoder_source` gives its text, for reading. The sliced form goes through its lists by core.slices.paced.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from gateway.core.slices import paced
from gateway.kafka.compile_source import Source
from gateway.kafka.primitives import TEXT_MAX, Malformed, varint
from gateway.kafka.schema.shape import FORMATS, SIZES, Form, Shape, places

Decode = Callable[[Any, int], tuple[dict[str, Any], int]]


def decoder(shape: Shape, label: str, sliced: bool) -> Decode:
    writer = _source(shape, sliced)
    extras = {"Malformed": Malformed, "varint": varint, "unpack": struct.unpack_from, "paced": paced}
    made: Decode = writer.build(f"decode {label}", extras, "unpack_from")
    return made


def decoder_source(shape: Shape, sliced: bool) -> str:
    return "\n".join(_source(shape, sliced).lines)


def has_bytes(shape: Shape) -> bool:
    """Whether some field is bytes or records, so that the decoder needs a view of the input to slice."""

    def of(form: Form) -> bool:
        if form.shape is not None:
            return has_bytes(form.shape)
        return form.kind == "bytes" or (form.element is not None and of(form.element))

    return any(of(place.form) for place in places(shape))


def _source(shape: Shape, sliced: bool) -> Source:
    reading = _Decoding("str(d[o:p], 'utf-8')" if has_bytes(shape) else "d[o:p].decode()", sliced)
    writer = reading.writer
    writer.put("def run(d, left):")
    writer.depth = 1
    writer.put("o = 0", "end = len(d)")
    body = reading.struct(shape, shape.name)
    writer.put(f"return {body}, o")
    return writer


class _Decoding:
    """Writes a decoder. In its text: d data, o offset, end, left elements, p the end of the value at hand."""

    def __init__(self, text: str, sliced: bool) -> None:
        self.writer = Source()
        self.text = text
        self.loop = "for _ in paced(range({})):" if sliced else "for _ in range({}):"
        self.run: list[tuple[str, str]] = []

    def fixed(self, kind: str, stem: str) -> str:
        """Put a fixed-size value into the pending run; `flush` reads the run at once."""
        name = self.writer.name(stem)
        self.run.append((name, FORMATS[kind]))
        return name

    def flush(self) -> None:
        if not self.run:
            return
        letters = "".join(letter for _, letter in self.run)
        names = ", ".join(name for name, _ in self.run)
        size = struct.calcsize(">" + letters)
        self.writer.put(f"{names}, = {self.writer.packer(letters)}(d, o)", f"o += {size}")
        self.run = []

    def varint(self, stem: str) -> str:
        self.flush()
        name = self.writer.name(stem)
        self.writer.put(f"{name} = d[o]", f"if {name} < 128: o += 1", f"else: {name}, o = varint(d, o)")
        return name

    def struct(self, shape: Shape, where: str) -> str:
        """Read a struct; the name of the variable that then holds it."""
        values = [(place.name, self.value(place.form, f"{where}.{place.name}")) for place in shape.places]
        tags = self.varint("t") if shape.flexible else ""
        self.flush()
        values += [(place.name, repr(place.default)) for place in shape.tagged]
        made = self.writer.name("s")
        self.writer.put(f"{made} = {{{', '.join(f'{name!r}: {value}' for name, value in values)}}}")
        if tags:
            self.tags(shape, made, tags, where)
        return made

    def tags(self, shape: Shape, made: str, count: str, where: str) -> None:
        writer = self.writer
        last, tag, size, stop = (writer.name(stem) for stem in ("last", "tag", "size", "stop"))
        writer.put(f"if {count}:")
        writer.depth += 1
        writer.put(f"{last} = -1", f"for _ in range({count}):")
        writer.depth += 1
        writer.put(
            f"{tag}, o = varint(d, o)",
            f"{size}, o = varint(d, o)",
            f"{stop} = o + {size}",
            f"if {stop} > end: raise Malformed({where + ': a tagged field past the end'!r})",
            f"if {tag} <= {last}: raise Malformed({where + ': tagged fields out of order'!r})",
            f"{last} = {tag}",
        )
        word = "if"
        for place in shape.tagged:
            writer.put(f"{word} {tag} == {place.tag}:")
            writer.depth += 1
            value = self.value(place.form, f"{where}.{place.name}")
            self.flush()
            writer.put(
                f"if o != {stop}: raise Malformed({f'{where}.{place.name}: a tagged field of another size'!r})",
                f"{made}[{place.name!r}] = {value}",
            )
            writer.depth -= 1
            word = "elif"
        if shape.tagged:
            writer.put("else:")
            writer.depth += 1
        writer.put(
            "left -= 1",
            f"if left < 0: raise Malformed({where + ': too many elements'!r})",
            f"{made}.setdefault('_tags', {{}})[{tag}] = bytes(d[o:{stop}])",
            f"o = {stop}",
        )
        writer.depth -= 3 if shape.tagged else 2

    def value(self, form: Form, where: str) -> str:
        """Read a value; the name of the variable (perhaps of the pending run) that then holds it."""
        if form.kind in FORMATS:
            return self.fixed(form.kind, "v")
        if form.kind == "struct":
            assert form.shape is not None
            if not form.nullable:
                return self.struct(form.shape, where)
            return self.nullable_struct(form.shape, where)
        if form.kind == "array":
            return self.array(form, where)
        return self.sized(form, where)

    def length(self, form: Form, where: str) -> tuple[str, str]:
        """Read a length: (its variable, the test for null or ""), with lengths below zero refused."""
        writer = self.writer
        if form.compact:
            n = self.varint("n")
            if form.nullable:
                writer.put(f"{n} -= 1")
                return n, f"{n} < 0"
            writer.put(f"if not {n}: raise Malformed({where + ': null where it may not be'!r})", f"{n} -= 1")
            return n, ""
        n = self.fixed("int16" if form.kind == "string" else "int32", "n")
        self.flush()
        lowest = -1 if form.nullable else 0
        writer.put(f"if {n} < {lowest}: raise Malformed({where + ': a negative length'!r})")
        return n, f"{n} < 0" if form.nullable else ""

    def sized(self, form: Form, where: str) -> str:
        writer = self.writer
        n, null = self.length(form, where)
        value = writer.name("v")
        if null:
            writer.put(f"if {null}: {value} = None", "else:")
            writer.depth += 1
        if form.kind == "string" and form.compact:
            writer.put(f"if {n} > {TEXT_MAX}: raise Malformed({where + ': a string that is too long'!r})")
        writer.put(f"p = o + {n}", f"if p > end: raise Malformed({where + ': longer than what is there'!r})")
        writer.put(f"{value} = {self.text if form.kind == 'string' else 'd[o:p]'}", "o = p")
        if null:
            writer.depth -= 1
        return value

    def nullable_struct(self, shape: Shape, where: str) -> str:
        writer = self.writer
        mark = self.fixed("int8", "n")
        self.flush()
        value = writer.name("v")
        writer.put(f"if {mark} < 0: {value} = None", "else:")
        writer.depth += 1
        made = self.struct(shape, where)
        writer.put(f"{value} = {made}")
        writer.depth -= 1
        return value

    def array(self, form: Form, where: str) -> str:
        writer = self.writer
        element = form.element
        assert element is not None
        n, null = self.length(form, where)
        value = writer.name("v")
        if null:
            writer.put(f"if {null}: {value} = None", "else:")
            writer.depth += 1
        octets = element.octets_min()
        writer.put(
            f"if {n} * {octets} > end - o: raise Malformed({where + ': more elements than bytes'!r})",
            f"left -= {n}",
            f"if left < 0: raise Malformed({where + ': too many elements'!r})",
        )
        if element.kind in SIZES and element.kind != "uuid":
            writer.put(f"{value} = list(unpack(f'>{{{n}}}{FORMATS[element.kind]}', d, o))", f"o += {n} * {octets}")
        else:
            writer.put(f"{value} = []", self.loop.format(n))
            writer.depth += 1
            item = self.value(element, where)
            self.flush()
            writer.put(f"{value}.append({item})")
            writer.depth -= 1
        if null:
            writer.depth -= 1
        return value

"""Turn the shape of a message into Python functions: one decoder and one encoder per message and version.

Plain generated source, no call per field: runs of fixed-size fields become one `struct` call, everything else is
written out inline. `decoder_source` and `encoder_source` give the text, for reading and for tests. kafka.codec calls
this once per message and version, when it is first met; the table bounds how many there can be.

A decoder takes the body's bytes (its last byte is the body's last) and how many array elements it may build, and
returns (body, end of what was read). It raises Malformed, or one of FAULTS, which the codec turns into Malformed.
An encoder takes a body whose structs have exactly the fields of the version and returns the parts to join; it raises
Incomplete for another body, and one of FAULTS for a value that does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from gateway.kafka.schema.shape import FORMATS, SIZES, Form, Place, Shape

TEXT_MAX = 0x7FFF
"""The longest string in bytes, compact ones included: Kafka refuses longer ones either way."""

FAULTS = (struct.error, IndexError, UnicodeError, TypeError, AttributeError, ValueError, OverflowError)
"""What generated code raises on bytes or values that do not fit: reading past the end, text that is not UTF-8."""

Decode = Callable[[Any, int], tuple[dict[str, Any], int]]
Encode = Callable[[dict[str, Any]], list[Any]]


class Malformed(Exception):
    """These bytes are not the message they claim to be. The text says what and where, never the bytes."""


class Incomplete(Exception):
    """A struct to be encoded lacks fields or has others; kafka.codec completes it and tries again."""


def varint(data: Any, offset: int) -> tuple[int, int]:
    """An unsigned varint of at most 32 bits: (value, the offset behind it). Raises Malformed, IndexError at the end."""
    octet = data[offset]
    if octet < 0x80:
        return octet, offset + 1
    value = octet & 0x7F
    octet = data[offset + 1]
    if octet < 0x80:
        return value | octet << 7, offset + 2
    value |= (octet & 0x7F) << 7
    octet = data[offset + 2]
    if octet < 0x80:
        return value | octet << 14, offset + 3
    value |= (octet & 0x7F) << 14
    octet = data[offset + 3]
    if octet < 0x80:
        return value | octet << 21, offset + 4
    value |= (octet & 0x7F) << 21
    octet = data[offset + 4]
    if octet > 0x7F:
        raise Malformed("a varint of more than five bytes")
    if octet > 0x0F:
        raise Malformed("a varint of more than 32 bits")
    return value | octet << 28, offset + 5


def written(value: int) -> bytes:
    """An unsigned varint as bytes."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


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


class _Writer:
    """Lines of source with their indentation, fresh variable names, and the packers they use."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self.names = 0
        self.packers: dict[str, str] = {}

    def put(self, *lines: str) -> None:
        self.lines += ["    " * self.depth + line for line in lines]

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    def packer(self, letters: str) -> str:
        return self.packers.setdefault(letters, f"S{len(self.packers)}")

    def build(self, head: str, extras: dict[str, Any], method: str) -> Any:
        names: dict[str, Any] = dict(extras)
        for letters, name in self.packers.items():
            names[name] = getattr(struct.Struct(">" + letters), method)
        exec(compile("\n".join(self.lines), f"<{head}>", "exec"), names)  # noqa: S102 - text made here, from our table
        return names["run"]


def decoder(shape: Shape, label: str) -> Decode:
    writer = _decoder(shape)
    extras = {"Malformed": Malformed, "varint": varint, "unpack": struct.unpack_from}
    made: Decode = writer.build(f"decode {label}", extras, "unpack_from")
    return made


def decoder_source(shape: Shape) -> str:
    return "\n".join(_decoder(shape).lines)


def has_bytes(shape: Shape) -> bool:
    """Whether some field is bytes or records, so that the decoder needs a view of the input to slice."""

    def of(form: Form) -> bool:
        if form.shape is not None:
            return has_bytes(form.shape)
        return form.kind == "bytes" or (form.element is not None and of(form.element))

    return any(of(place.form) for place in (*shape.places, *shape.tagged))


def _decoder(shape: Shape) -> _Writer:
    reading = _Decoding("str(d[o:p], 'utf-8')" if has_bytes(shape) else "d[o:p].decode()")
    writer = reading.writer
    writer.put("def run(d, left):")
    writer.depth = 1
    writer.put("o = 0", "end = len(d)")
    body = reading.struct(shape, shape.name)
    writer.put(f"return {body}, o")
    return writer


class _Decoding:
    """Writes a decoder. In its text: d data, o offset, end, left elements, p the end of the value at hand."""

    def __init__(self, text: str) -> None:
        self.writer = _Writer()
        self.text = text
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
            writer.put(f"{value} = []", f"for _ in range({n}):")
            writer.depth += 1
            item = self.value(element, where)
            self.flush()
            writer.put(f"{value}.append({item})")
            writer.depth -= 1
        if null:
            writer.depth -= 1
        return value


def encoder(shape: Shape, label: str) -> Encode:
    writer = _encoder(shape)
    extras = {
        "Incomplete": Incomplete, "extra": extra, "joined": joined, "written": written, "pack": struct.pack,
        "OCTET": [bytes((value,)) for value in range(128)],
    }  # fmt: skip
    made: Encode = writer.build(f"encode {label}", extras, "pack")
    return made


def encoder_source(shape: Shape) -> str:
    return "\n".join(_encoder(shape).lines)


def _encoder(shape: Shape) -> _Writer:
    writing = _Encoding()
    writer = writing.writer
    writer.put("def run(b):")
    writer.depth = 1
    writer.put("parts = []", "put = parts.append")
    writing.struct(shape, "b")
    writing.flush()
    writer.put("return parts")
    return writer


class _Encoding:
    """Writes an encoder. In its text: b the body, put appends a part."""

    def __init__(self) -> None:
        self.writer = _Writer()
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
            assert form.shape is not None
            self.optional(form, source, lambda name: self.struct(form.shape, name))  # type: ignore[arg-type]
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
        writer.put(f"for {item} in {value}:")
        writer.depth += 1
        self.value(element, item)
        self.flush()
        writer.depth -= 1


def _null(form: Form) -> bytes:
    if form.kind == "struct":
        return b"\xff"
    if form.compact:
        return b"\0"
    return b"\xff\xff" if form.kind == "string" else b"\xff\xff\xff\xff"


def places(shape: Shape) -> tuple[Place, ...]:
    """All fields of a struct, tagged ones last."""
    return (*shape.places, *shape.tagged)

"""What one message looks like at one version: its fields in the order of the bytes, each with its exact form."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.kafka.schema.model import Field, Message

FORMATS = {
    "bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "float64": "d",
    "uuid": "16s",
}  # fmt: skip
"""Types of a fixed size, in the letters of the `struct` module (big-endian)."""

SIZES = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "float64": 8, "uuid": 16}
ZERO_UUID = bytes(16)


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written.

    kind: a key of FORMATS, or ``string``, ``bytes`` (records too), ``struct``, ``array``.
    compact: lengths are unsigned varints (KIP-482), one more than the length, 0 for null.
    shape: of a struct; element: of an array.
    """

    kind: str
    nullable: bool = False
    compact: bool = False
    shape: Shape | None = None
    element: Form | None = None

    def octets_min(self) -> int:
        """The fewest bytes a value can take; counts of arrays are checked against it before anything is built."""
        if self.kind in SIZES:
            return SIZES[self.kind]
        if self.kind == "struct":
            assert self.shape is not None
            return 1 if self.nullable else self.shape.octets_min()
        if self.compact:
            return 1
        return 2 if self.kind == "string" else 4


@dataclass(frozen=True, slots=True)
class Place:
    """A field at this version. `default` is what a missing field means; a struct's is None or made of its fields'."""

    name: str
    form: Form
    default: object
    entity: str = ""
    tag: int = -1


@dataclass(frozen=True, slots=True)
class Absent:
    """A field that this version does not have: it may be given if it has its default, or if it may be ignored."""

    default: object
    ignorable: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """A struct, or a whole message, at one version. `tagged` is in ascending order of tags."""

    name: str
    flexible: bool
    places: tuple[Place, ...]
    tagged: tuple[Place, ...]
    absent: dict[str, Absent]

    def octets_min(self) -> int:
        return max(1, sum(place.form.octets_min() for place in self.places) + self.flexible)


def places(shape: Shape) -> tuple[Place, ...]:
    """All fields of a struct, tagged ones last."""
    return (*shape.places, *shape.tagged)


def shape(message: Message, version: int) -> Shape:
    """The message's shape. The caller has checked that the version exists."""
    return _shape(message, message.name, message.fields, version)


def _shape(message: Message, name: str, fields: tuple[Field, ...], version: int) -> Shape:
    flexible = version in message.flexible
    places, tagged, absent = [], [], {}
    for field in fields:
        if version not in field.versions:
            nearest = min(max(version, field.versions.first), field.versions.last)
            absent[field.name] = Absent(_default(field, _form(message, field, nearest)), field.ignorable)
            continue
        form = _form(message, field, version)
        default = _default(field, form)
        if version in field.tagged:
            assert field.tag is not None
            tagged.append(Place(field.name, form, default, field.entity, field.tag))
        else:
            places.append(Place(field.name, form, default, field.entity))
    tagged.sort(key=lambda place: place.tag)
    return Shape(name, flexible, tuple(places), tuple(tagged), absent)


def _form(message: Message, field: Field, version: int) -> Form:
    compact = version in (message.flexible if field.flexible is None else field.flexible)
    nullable = version in field.nullable
    if field.type.startswith("[]"):
        return Form("array", nullable, compact, element=_plain(message, field, field.type[2:], version, compact))
    plain = _plain(message, field, field.type, version, compact)
    return Form(plain.kind, nullable, compact, plain.shape) if nullable else plain


def _plain(message: Message, field: Field, name: str, version: int, compact: bool) -> Form:
    if name in FORMATS:
        return Form(name)
    if name in ("string", "bytes"):
        return Form(name, compact=compact)
    if name == "records":
        return Form("bytes", compact=compact)
    fields = message.structs[name] if field.fields is None else field.fields
    return Form("struct", shape=_shape(message, name, fields, version))


def _default(field: Field, form: Form) -> object:
    text = field.default
    if text == "null" or (text is None and field.type == "records"):
        return None
    if form.kind == "array":
        return []
    if form.kind == "struct":
        assert form.shape is not None
        return defaults(form.shape)
    if form.kind == "string":
        return text or ""
    if form.kind == "bytes":
        return b""
    if form.kind == "uuid":
        return ZERO_UUID
    if form.kind == "bool":
        return text == "true"
    if form.kind == "float64":
        return float(text or 0)
    return int(text or "0", 0)


def defaults(shape: Shape) -> dict[str, object]:
    """A struct of nothing but defaults."""
    return {place.name: fresh(place.default) for place in places(shape)}


def fresh(default: object) -> object:
    """A default that may be changed without changing anybody else's."""
    if isinstance(default, dict):
        return {name: fresh(value) for name, value in default.items()}
    return [] if isinstance(default, list) else default

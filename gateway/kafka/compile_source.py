"""Generated Python source: lines, names, and the `struct` calls they use. See kafka.compile_decoder and -encoder.

The shape of a message (kafka.schema.shape) becomes plain source, with no call per field: a run of fixed-size fields is
one `struct` call, everything else is written out inline. kafka.codec asks for a decoder and an encoder per message
and version, when it is first met; the table bounds how many there can be.
"""

from __future__ import annotations

import struct
from typing import Any

FAULTS = (struct.error, IndexError, UnicodeError, TypeError, AttributeError, ValueError, OverflowError)
"""What generated code raises on bytes or values that do not fit: reading past the end, text that is not UTF-8."""


class Source:
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

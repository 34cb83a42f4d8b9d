"""An HTTP/1.1 head as octets, before any parser sees it: where it ends, and that it can be read in one way only.

h11 is lenient where RFC 9112 permits it (a bare LF ends a line, folded lines are joined); two parsers that are lenient
in different ways are what request smuggling is made of. So here: CR and LF only together, no NUL, no line that begins
with white space, a name that is a token with its colon right behind it. Used for requests and for brokers' answers.
"""

from __future__ import annotations

import re

HEAD_BYTES_MAX = 32 << 10
"""Of one head, request line and headers: a token of 16 KiB and what else clients send."""
HEADERS_MAX = 100
"""Headers of one head."""
START_BYTES_MAX = 9 << 10
"""Of the first line."""
END = b"\r\n\r\n"
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")


class Unclear(Exception):
    """More than one reading, or none. large: it is more than is taken."""

    def __init__(self, detail: str, *, large: bool = False) -> None:
        super().__init__(detail)
        self.large = large


class HeadEnd:
    """Finds the end of one head as more of it comes, without looking at an octet twice."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = 0

    def find(self, data: bytes) -> int:
        """How long the head is, its empty line included; 0: it is not whole yet. Raises Unclear past the limit."""
        at = data.find(END, max(0, self._seen - len(END) + 1), HEAD_BYTES_MAX)
        if at >= 0:
            return at + len(END)
        self._seen = len(data)
        if len(data) >= HEAD_BYTES_MAX:
            raise Unclear(f"a head of over {HEAD_BYTES_MAX} bytes", large=True)
        return 0


def fields(head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a whole head, each as it came, its name in lower case. h11 would join two that are equal into
    one. Raises Unclear."""
    if _BARE.search(head):
        raise Unclear("a line end that is not CR LF, or a NUL")
    start, *lines = head[: -len(END)].split(b"\r\n")
    if len(start) > START_BYTES_MAX:
        raise Unclear(f"a first line of {len(start)} bytes", large=True)
    if len(lines) > HEADERS_MAX:
        raise Unclear(f"{len(lines)} headers", large=True)
    for line in lines:
        if not _NAME.match(line):
            raise Unclear("a header whose name is no token with a colon behind it, or a folded one")
    parts = (line.partition(b":") for line in lines)
    return tuple((name.lower(), value.strip(b" \t")) for name, _, value in parts)

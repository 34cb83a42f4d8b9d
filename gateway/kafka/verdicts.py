"""Which topics were allowed before, by their raw octets: one table for all connections of a principal with its rights.

A verdict is the live [requests, bytes] pair of the audit's sums, so that a hit costs one lookup, in the interpreted
form and in the compiled one. Only allows are remembered. Rights are of one policy revision, and equal identities have
the same: so a verdict holds for whoever has the same rights, and a policy, other claims or a binding that ends lead to
another table. A thousand connections of one service ask about a topic once.

Bounded per table and per backend: the oldest of the largest go first, some at a time. A table lives as long as some
connection has it. Called by kafka.produce_fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from weakref import WeakValueDictionary

from gateway.core.identity import Principal
from gateway.core.rights import Rights

VERDICTS_OF_ONE_MAX = 120_000
"""Of one principal with its rights: names and ids, for reading and for writing, together."""
VERDICTS_MAX = 500_000
"""Of all on one backend; 100 to 200 octets each, with a name of ordinary length."""
FORGOTTEN_AT_ONCE = 4_000
"""Where room is made. Few enough that nobody waits for it, many enough that it is not to be done again at once."""
LOOKS_MAX = 256
"""Topics of one request, or of those taken at a time by the short way, that rights are asked for here; what has more is
the engine's, which decides it in slices."""
SEEN_MAX = 1_000
"""Names of topics that were read, of one principal."""

Table = dict[bytes, list[int]]


class Verdicts:
    """One principal's with its rights. `generation`: of the audit's sums whose pairs these are."""

    __slots__ = (
        "__weakref__", "generation", "read_ids", "read_names", "seen", "withdrawn", "write_ids", "write_names",
    )  # fmt: skip

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.write_names: Table = {}
        self.write_ids: Table = {}
        self.read_names: Table = {}
        self.read_ids: Table = {}
        self.seen: set[str] = set()
        """Topics that were read by these rights, or by those that they came after."""
        self.withdrawn = False
        """Some of them may not be read any more."""

    def __len__(self) -> int:
        return sum(map(len, self._tables()))

    def clear(self) -> None:
        for table in self._tables():
            table.clear()

    def forget_some(self) -> None:
        """Make room: the oldest of the largest table go."""
        table = max(self._tables(), key=len)
        for topic in list(islice(table, FORGOTTEN_AT_ONCE)):
            del table[topic]

    def forget_ids(self, unknown: Sequence[bytes]) -> None:
        """Topic ids that a broker does not know any more."""
        for topic in unknown:
            self.write_ids.pop(topic, None)
            self.read_ids.pop(topic, None)

    def read(self, name: str) -> None:
        """A topic may be read, and will be."""
        if len(self.seen) < SEEN_MAX:
            self.seen.add(name)

    def come_after(self, before: Verdicts, may_read: Callable[[str], bool]) -> None:
        """The rights that a connection had until now, and what was read by them."""
        for name in before.seen - self.seen:
            self.read(name)
            self.withdrawn = self.withdrawn or not may_read(name)

    def _tables(self) -> tuple[Table, Table, Table, Table]:
        return self.write_names, self.write_ids, self.read_names, self.read_ids


class VerdictMemory:
    """One backend's."""

    def __init__(self) -> None:
        self._of: WeakValueDictionary[tuple[Rights, Principal], Verdicts] = WeakValueDictionary()
        self._count = 0
        """At least as many as there are."""

    def of(self, rights: Rights, principal: Principal, generation: int) -> Verdicts:
        """What is remembered for these rights; nothing, where the audit has taken its sums away since."""
        key = rights, principal
        found = self._of.get(key)
        if found is None:
            found = self._of[key] = Verdicts(generation)
        elif found.generation != generation:
            found.clear()
            found.generation = generation
        return found

    def remember(self, verdicts: Verdicts, table: Table, topic: bytes, pair: list[int]) -> None:
        """`table`: one of the verdicts'."""
        if self._count >= VERDICTS_MAX:
            self._make_room()
        if len(verdicts) >= VERDICTS_OF_ONE_MAX:
            verdicts.forget_some()
        table[topic] = pair
        self._count += 1

    def _make_room(self) -> None:
        """Count what there is, since tables have come to their end, and let the oldest of the largest go."""
        every = sorted(self._of.values(), key=len, reverse=True)
        self._count = sum(map(len, every))
        for verdicts in every:
            if self._count <= VERDICTS_MAX - FORGOTTEN_AT_ONCE:
                break
            before = len(verdicts)
            verdicts.forget_some()
            self._count -= before - len(verdicts)

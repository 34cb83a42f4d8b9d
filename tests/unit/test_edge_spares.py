"""Large buffers are used again, but never while somebody still looks at one."""

from __future__ import annotations

from gateway.edge.spares import SPARE_OCTETS_MAX, STEP, Spares


def test_a_buffer_comes_back() -> None:
    spares = Spares()
    buffer = spares.take(300_000)
    assert len(buffer) == 2 * STEP
    address = id(buffer)
    spares.give(buffer)
    assert spares.octets == 2 * STEP
    del buffer
    assert id(spares.take(1)) == address
    assert spares.octets == 0


def test_a_larger_one_is_made_anew() -> None:
    spares = Spares()
    spares.give(spares.take(1))
    assert len(spares.take(STEP + 1)) == 2 * STEP
    assert spares.octets == STEP


def test_one_that_is_still_looked_at_is_not_used_again() -> None:
    spares = Spares()
    buffer = spares.take(1)
    kept = memoryview(buffer)[10:20]
    spares.give(buffer)
    del buffer
    assert spares.take(1) is not kept.obj
    assert spares.octets == 0


def test_only_so_much_is_kept() -> None:
    spares = Spares()
    for buffer in [spares.take(SPARE_OCTETS_MAX // 2) for _ in range(3)]:
        spares.give(buffer)
    spares.give(spares.take(SPARE_OCTETS_MAX + 1))
    assert spares.octets == SPARE_OCTETS_MAX

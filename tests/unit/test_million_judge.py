"""The judge of the million-record run notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtest.million.records import ACKNOWLEDGED, FAILED, WITHDRAWN, Reading, Stream, tally

COUNT = 40


@pytest.fixture
def stream() -> Stream:
    """Forty acknowledged records on four partitions, at offsets as told."""
    made = Stream(0, "storm.first", 4)
    for number in range(COUNT):
        made.sent()
        made.stored(number, number)
    made.settle(range(COUNT), ACKNOWLEDGED)
    return made


def take(reading: Reading, number: int, offset: int | None = None, partition: int | None = None) -> None:
    stream = reading.streams[0]
    at = stream.partition(number) if partition is None else partition
    offset = number if offset is None else offset
    reading.take(stream.topic, at, offset, stream.key(number), stream.value(number))


def judged(stream: Stream, *, left_out: tuple[int, ...] = (), more: Callable[[Reading], None] | None = None) -> Reading:
    reading = Reading([stream])
    for number in range(COUNT):
        if number not in left_out:
            take(reading, number)
    if more is not None:
        more(reading)
    reading.compare()
    return reading


def test_nothing_is_noted_where_nothing_is_wrong(stream: Stream) -> None:
    reading = judged(stream)
    assert (reading.wrong, reading.count, reading.again, reading.missing()) == ({}, COUNT, 0, 0)
    assert tally([stream])["acknowledged"] == COUNT


def test_the_same_record_at_the_same_offset_was_read_again(stream: Stream) -> None:
    reading = judged(stream, more=lambda reading: take(reading, 7))
    assert (reading.wrong, reading.again) == ({}, 1)


def test_a_lost_record(stream: Stream) -> None:
    reading = judged(stream, left_out=(0, COUNT - 1))
    assert reading.wrong == {"acknowledged and lost": 2}
    assert reading.missing() == 2


def test_a_record_that_is_there_twice(stream: Stream) -> None:
    reading = judged(stream, more=lambda reading: take(reading, 7, offset=100))
    assert reading.wrong == {"there twice": 1}


def test_a_record_out_of_order(stream: Stream) -> None:
    stream.stored(8, -1)  # the broker did not say where
    reading = judged(stream, left_out=(8,), more=lambda reading: take(reading, 8, offset=100))
    assert set(reading.wrong) == {"out of order"}


def test_a_record_elsewhere_than_told(stream: Stream) -> None:
    stream.stored(COUNT - 1, 41)
    assert judged(stream).wrong == {"not at the offset that was told": 1}


def test_a_record_on_another_partition(stream: Stream) -> None:
    reading = judged(stream, left_out=(5,), more=lambda reading: take(reading, 5, partition=2))
    assert reading.wrong == {"on a partition that is not its key's": 1}


@pytest.mark.parametrize("at", [0, 3, 12, -1])
def test_an_altered_octet(stream: Stream, at: int) -> None:
    value = bytearray(stream.value(3))
    value[at] ^= 1

    def more(reading: Reading) -> None:
        reading.take(stream.topic, stream.partition(3), 3, stream.key(3), bytes(value))

    assert judged(stream, left_out=(3,), more=more).wrong == {"altered": 1, "acknowledged and lost": 1}


def test_a_record_of_somebody_else(stream: Stream) -> None:
    def more(reading: Reading) -> None:
        for key, value in ((None, None), (b"0-1", b""), (stream.key(2), stream.value(1)), (b"", b"x" * 100)):
            reading.take(stream.topic, 1, 99, key, value)

    assert judged(stream, more=more).wrong == {"altered": 4}


def test_what_was_not_acknowledged_may_be_there_or_not(stream: Stream) -> None:
    stream.settle(range(3, 5), FAILED)
    assert judged(stream, left_out=(3,)).wrong == {}


def test_a_withdrawn_record_is_never_seen(stream: Stream) -> None:
    stream.settle(range(3, 5), WITHDRAWN)
    assert judged(stream, left_out=(3,)).wrong == {"seen though its transaction was aborted": 1}


def test_half_a_transaction(stream: Stream) -> None:
    stream.transactions.append(range(10, 20))
    stream.settle(range(10, 20), FAILED)
    assert judged(stream, left_out=tuple(range(10, 20))).wrong == {}
    assert judged(stream, left_out=(11,)).wrong == {"a transaction of which only a part is there": 1}

"""Denials that repeat: what is remembered is bounded, and nothing goes uncounted."""

from __future__ import annotations

from gateway.core.repeats import INTERVAL, REMEMBERED_MAX, Repeats


def access(number: int) -> tuple[str, str, str]:
    return "topic", "Read", f"t{number}"


def test_the_oldest_gives_way_one_past_the_most() -> None:
    repeats = Repeats()
    for number in range(REMEMBERED_MAX):
        repeats.written(access(number), 0.0)
    assert repeats.repeated(access(0), 1.0)
    assert repeats.take_untold() == 0
    repeats.written(access(REMEMBERED_MAX), 1.0)
    assert not repeats.repeated(access(0), 1.0)
    assert repeats.take_untold() == 1
    assert repeats.repeated(access(1), 1.0)


def test_what_was_written_again_is_not_the_oldest() -> None:
    repeats = Repeats()
    for number in range(REMEMBERED_MAX):
        repeats.written(access(number), 0.0)
    assert repeats.written(access(0), INTERVAL) == 0
    repeats.written(access(REMEMBERED_MAX), INTERVAL)
    assert repeats.repeated(access(0), INTERVAL)
    assert not repeats.repeated(access(1), INTERVAL)


def test_it_is_news_from_the_interval_on() -> None:
    repeats = Repeats()
    repeats.written(access(0), 5.0)
    assert repeats.repeated(access(0), 5.0 + INTERVAL - 0.001)
    assert not repeats.repeated(access(0), 5.0 + INTERVAL)
    assert repeats.written(access(0), 5.0 + INTERVAL) == 1


def test_what_was_forgotten_is_counted_once() -> None:
    repeats = Repeats()
    repeats.written(access(0), 0.0)
    assert repeats.repeated(access(0), 1.0)
    repeats.forget()
    assert not repeats.repeated(access(0), 1.0)
    assert [repeats.take_untold(), repeats.take_untold()] == [1, 0]

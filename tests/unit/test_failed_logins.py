"""The delay of a refusal: how it grows, for whom, how it is forgotten, and how much is remembered."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.core import failed_logins
from gateway.core.failed_logins import FailedLogins
from gateway.core.shared_failed_logins import WIDTH, OtherFailures
from gateway.core.shares import Shares
from tests.unit.test_shared_limits import ROWS, tables

HERE = ip_address("192.0.2.1")


def test_it_doubles_with_each_failure_of_an_address_up_to_the_most() -> None:
    failures = FailedLogins()
    waited = [round(failures.delay(HERE, "corp", 100.0, 5.0), 3) for _ in range(9)]
    assert waited == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_other_addresses_begin_for_themselves() -> None:
    failures = FailedLogins()
    for _ in range(9):
        failures.delay(HERE, "corp", 100.0, 5.0)
    assert failures.delay(ip_address("198.51.100.7"), "other", 100.0, 5.0) == pytest.approx(0.1)


def test_an_address_of_ipv6_is_its_64() -> None:
    failures = FailedLogins()
    failures.delay(ip_address("2001:db8::1"), "corp", 100.0, 5.0)
    assert failures.delay(ip_address("2001:db8::2"), "corp", 100.0, 5.0) == pytest.approx(0.2)


def test_many_addresses_in_one_issuers_name_wait_longer_and_longer() -> None:
    failures = FailedLogins()
    waited = [failures.delay(ip_address(0x0A000000 + number), "corp", 100.0, 5.0) for number in range(150)]
    assert waited[0] == pytest.approx(0.1)
    assert waited[-1] == pytest.approx(5.0)
    assert sorted(waited) == waited
    assert failures.delay(ip_address("192.0.2.9"), "other", 100.0, 5.0) == pytest.approx(0.1)


def test_it_is_forgotten_by_halves() -> None:
    failures = FailedLogins()
    for _ in range(4):
        failures.delay(HERE, "corp", 100.0, 5.0)
    assert failures.delay(HERE, "corp", 100.0 + failed_logins.HALF_LIFE_SECONDS, 5.0) == pytest.approx(0.1 * 2**2)
    assert failures.delay(HERE, "corp", 100_000.0, 5.0) == pytest.approx(0.1)


def test_a_clock_that_stands_still_or_steps_back_does_no_harm() -> None:
    failures = FailedLogins()
    failures.delay(HERE, "corp", 100.0, 5.0)
    assert failures.delay(HERE, "corp", 99.0, 5.0) == pytest.approx(0.2)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_logins, "ORIGINS_MAX", 3)
    failures = FailedLogins()
    for number in range(3):
        failures.delay(ip_address(number), "corp", 100.0, 5.0)
    failures.delay(ip_address(0), "corp", 100.0, 5.0)  # the one that failed last is kept longest
    assert len(failures) == 3
    failures.delay(ip_address(7), "corp", 100.0, 5.0)
    assert len(failures) == 3
    assert failures.delay(ip_address(0), "corp", 100.0, 5.0) == pytest.approx(0.4)
    assert failures.delay(ip_address(1), "corp", 100.0, 5.0) < 0.15, "it was forgotten"


# ---- several workers


def workers(count: int, remembered: int = ROWS) -> list[FailedLogins]:
    made = tables(count, remembered, WIDTH)
    return [
        FailedLogins(OtherFailures(Shares(b"secret", own, tuple(each for each in made if each is not own))))
        for own in made
    ]


@pytest.mark.parametrize("count", [2, 4])
def test_workers_count_together_as_one_would(count: int) -> None:
    """Whoever is sent from one to the other waits as long, up to the most, and is forgotten as soon."""
    one, several = FailedLogins(), workers(count)
    for number in range(60):
        now = 100.0 + number * (1.0 if number < 40 else 20.0)
        waits = several[number % count].delay(HERE, "corp", now, 5.0)
        assert waits == pytest.approx(one.delay(HERE, "corp", now, 5.0)), number


def test_an_issuers_failures_are_counted_over_workers_too() -> None:
    one, several = FailedLogins(), workers(2)
    for number in range(150):
        address = ip_address(0x0A000000 + number)
        waits = several[number % 2].delay(address, "corp", 100.0, 5.0)
        assert waits == pytest.approx(one.delay(address, "corp", 100.0, 5.0))


def test_what_is_forgotten_gives_its_row_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_logins, "ORIGINS_MAX", 10)
    first, second = workers(2)
    for number in range(2000):
        first.delay(ip_address(0x0A000000 + number), "", 100.0, 5.0)
    assert len(first) == 10
    assert second.delay(ip_address(0x0A000000 + 1999), "", 100.0, 5.0) >= 0.2
    assert second.delay(ip_address(0x0A000000), "other", 100.0, 5.0) == pytest.approx(0.1)


def test_without_room_a_worker_counts_alone() -> None:
    first, _ = workers(2, 64)
    for number in range(100):
        first.delay(ip_address(0x0A000000 + number), "", 100.0, 5.0)
    assert first.delay(ip_address(0x0A000000 + 99), "other", 100.0, 5.0) == pytest.approx(0.2)

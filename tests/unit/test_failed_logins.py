"""The delay of a refusal: how it grows, for whom, how it is forgotten, and how much is remembered."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.core import failed_logins
from gateway.core.failed_logins import FailedLogins

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

"""Token buckets and the accounts of principals."""

from __future__ import annotations

import pytest

from gateway.core.identity import Principal
from gateway.core.limits import BURST_SECONDS, DEBT_SECONDS_MAX, Bucket, Quotas
from gateway.core.rights import Quota

ANN, BOB = Principal("jwt", "corp", "ann"), Principal("jwt", "corp", "bob")
QUOTA = Quota(produce_bytes=100, consume_bytes=1000, requests=10, connections=2)


def test_a_bucket_lets_a_burst_through_then_holds_the_rate() -> None:
    bucket = Bucket(100, 0.0)
    assert bucket.take(100 * BURST_SECONDS, 0.0) == 0.0
    assert bucket.take(50, 0.0) == pytest.approx(0.5)
    assert bucket.take(0, 0.5) == 0.0
    assert bucket.take(100, 1000.0) == 0.0, "what was saved while idle"
    assert bucket.take(1, 1000.0) > 0, "and no more than the burst"


def test_a_large_frame_makes_a_debt_that_is_bounded() -> None:
    bucket = Bucket(100, 0.0)
    assert bucket.take(1100, 0.0) == pytest.approx(10.0)
    assert bucket.take(0, 4.0) == pytest.approx(6.0)
    assert bucket.take(10**9, 4.0) == DEBT_SECONDS_MAX


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = Bucket(100, 10.0)
    bucket.take(200, 10.0)
    assert bucket.take(0, 9.0) == pytest.approx(1.0)
    assert bucket.take(0, 10.5) == pytest.approx(0.5)


def test_over_time_a_flood_gets_the_rate_and_no_more() -> None:
    bucket, now, sent = Bucket(1000, 0.0), 0.0, 0
    while now < 100:
        now += bucket.take(700, now)
        sent += 700
    assert sent == pytest.approx(1000 * (100 + BURST_SECONDS), rel=0.02)


def test_connections_of_a_principal() -> None:
    quotas = Quotas()
    account = quotas.account(ANN, QUOTA, 0.0)
    assert account.connect()
    assert quotas.account(ANN, QUOTA, 0.0) is account
    assert account.connect()
    assert not account.connect()
    assert quotas.account(BOB, QUOTA, 0.0).connect()
    account.disconnect()
    assert account.connect()
    account.disconnect()
    account.disconnect()
    with pytest.raises(ValueError, match="no connection"):
        account.disconnect()


def test_all_connections_share_one_account_and_each_word_its_own_bucket() -> None:
    quotas = Quotas()
    one, other = quotas.account(ANN, QUOTA, 0.0), quotas.account(ANN, QUOTA, 0.0)
    assert one.produce(100, 0.0) == 0.0
    assert other.produce(100, 0.0) == pytest.approx(1.0)
    assert other.consume(1000, 0.0) == 0.0
    assert [other.request(0.0) for _ in range(11)][-1] == pytest.approx(0.1)


def test_a_new_quota_holds_at_once_and_debts_keep_their_time() -> None:
    quotas = Quotas()
    account = quotas.account(ANN, QUOTA, 0.0)
    account.produce(300, 0.0)
    account.quota = QUOTA
    assert account.produce(0, 0.0) == pytest.approx(2.0)
    doubled = Quota(200, 2000, 20, 1)
    assert quotas.account(ANN, doubled, 0.0).quota is doubled
    assert account.produce(0, 0.0) == pytest.approx(2.0)
    assert account.produce(200, 0.0) == pytest.approx(3.0)
    assert account.connect()
    assert not account.connect()


def test_idle_accounts_are_bounded_connected_ones_stay() -> None:
    quotas = Quotas(idle_accounts_max=2)
    kept = quotas.account(ANN, QUOTA, 0.0)
    kept.connect()
    people = [Principal("jwt", "corp", str(number)) for number in range(3)]
    accounts = [quotas.account(each, QUOTA, 0.0) for each in people]
    assert len(quotas) == 3
    assert quotas.account(ANN, QUOTA, 0.0) is kept
    assert quotas.account(people[2], QUOTA, 0.0) is accounts[2]
    assert quotas.account(people[0], QUOTA, 0.0) is not accounts[0], "the longest idle was forgotten"
    kept.disconnect()
    assert len(quotas) == 2

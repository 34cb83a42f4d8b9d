"""Quotas that several workers hold together, each with its own replica of a principal's account."""

from __future__ import annotations

import mmap
import random
from dataclasses import replace
from struct import Struct

import pytest

from gateway.core import shares as shares_module
from gateway.core.identity import Principal
from gateway.core.limits import BURST_SECONDS, Account
from gateway.core.rights import Quota
from gateway.core.shared_limits import REJOIN_SECONDS, SETTLE_SECONDS, WIDTH, SharedQuotas
from gateway.core.shares import KEY, WINDOW, Shares, Table

ANN, BOB = Principal("jwt", "corp", "ann"), Principal("jwt", "corp", "bob")
QUOTA = Quota(produce_bytes=100_000, consume_bytes=200_000, requests=1000, connections=3)
ROWS = 4 * WINDOW


def tables(count: int, rows: int = ROWS, width: int = WIDTH) -> list[Table]:
    size = shares_module.size(rows, width)
    memory = mmap.mmap(-1, size * count)
    return [Table(memory, number * size, rows, width) for number in range(count)]


def workers(count: int) -> list[SharedQuotas]:
    made = tables(count)
    return [
        SharedQuotas(Shares(b"secret", own, tuple(each for each in made if each is not own))) for own in made
    ]  # fmt: skip


def accounts(count: int, now: float = 0.0) -> list[Account]:
    return [quotas.account(ANN, QUOTA, now) for quotas in workers(count)]


# ---- tables


def test_a_row_is_found_by_all_and_written_by_one() -> None:
    one, _ = tables(2)
    key = b"k" * KEY
    assert one.find(key) is None
    at = one.claim(key)
    assert at is not None
    assert one.claim(key) == at == one.find(key)
    one.put(at, 0, 1.5)
    one.put_many(at, 1, Struct(f"{WIDTH - 1}d"), *range(1, WIDTH))
    assert one.get(at, 0) == 1.5
    assert one.row(at) == (key, 1.5, *range(1, WIDTH))
    one.release(at)
    assert one.find(key) is None
    assert one.row(at)[0] != key
    assert one.claim(key) == at
    assert one.row(at) == (key, *(0.0,) * WIDTH), "a new row has nothing of the old one's"


def test_a_key_that_stands_across_two_rows_is_not_found() -> None:
    (table,) = tables(1)
    one, other = bytes(8) + b"A" * 8, b"B" * 8 + bytes(8)
    table.claim(one)
    table.claim(other)
    assert table.find(b"A" * 8 + b"B" * 8) is None


def test_every_key_has_room_in_a_table_that_is_half_full() -> None:
    (table,) = tables(1, rows=16384, width=1)
    key = Shares(b"secret", table, ()).key
    found = {table.claim(key("jwt", "corp", str(number))) for number in range(8192)}
    assert None not in found
    assert len(found) == 8192


def test_a_full_window_has_no_room_and_nobody_connects() -> None:
    (table,) = tables(1, rows=WINDOW)
    shares = Shares(b"secret", table, ())
    for number in range(WINDOW):
        assert table.claim(shares.key(str(number))) is not None
    assert table.claim(shares.key("more")) is None
    assert not SharedQuotas(shares).account(ANN, QUOTA, 0.0).connect()


def test_names_that_only_look_alike_have_keys_of_their_own() -> None:
    shares = Shares(b"secret", tables(1)[0], ())
    assert shares.key("a", "bc") != shares.key("ab", "c")
    assert shares.key("a") != Shares(b"other", tables(1)[0], ()).key("a")


# ---- accounts


def test_what_one_worker_lets_through_another_holds_against_it() -> None:
    one, other = accounts(2)
    assert one.produce(300_000, 1.0) == pytest.approx(2.0)
    assert other.produce(0, 1.01) == pytest.approx(1.99)
    assert other.owing
    assert other.owed(1.02) == 0.0, "nothing is owed for requests"
    assert other.debt(1.02) == pytest.approx(1.98)
    assert not other.spend(1, 1, 1.03)


def test_small_amounts_are_told_within_the_settling_time() -> None:
    one, other = accounts(2)
    for _ in range(1000):
        one.request(0.0)
    one.request(SETTLE_SECONDS)
    assert other.request(2 * SETTLE_SECONDS) > 0.0


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("frame", [300, 20_000, 300_000])
def test_a_flood_through_all_workers_gets_the_quota_and_no_more(count: int, frame: int) -> None:
    """Whoever floods sends as soon as it may, in every worker; the slack is one frame, or one settling time's worth of
    small ones, for each worker."""
    rng, seconds = random.Random(5), 60.0
    each = accounts(count)
    ready, sent = [0.0] * count, 0
    while (now := min(ready)) < seconds:
        at = ready.index(now)
        owed = each[at].produce(frame, now)
        sent += frame
        ready[at] = now + max(owed, 0.0002 * (1 + rng.random()))
    most = QUOTA.produce_bytes * (seconds + BURST_SECONDS) + count * max(frame, QUOTA.produce_bytes * BURST_SECONDS)
    assert QUOTA.produce_bytes * seconds * 0.98 <= sent <= most * 1.01


def test_a_worker_that_looked_away_neither_forgives_nor_holds_against_what_was_paid_meanwhile() -> None:
    one, other = accounts(2)
    now = 0.0
    while now < 30.0:  # one is used at its rate for half a minute, and other not at all
        now += 0.01
        one.produce(1000, now)
    assert other.produce(1000, now) == 0.0
    one.produce(500_000, now)
    assert other.produce(0, now + 2 * REJOIN_SECONDS) > 3.0


def test_a_principal_that_comes_to_another_worker_has_no_second_burst() -> None:
    first, second = workers(2)
    first.account(ANN, QUOTA, 0.0).produce(100_000, 0.0)
    assert second.account(ANN, QUOTA, 0.0).produce(1000, 0.0) > 0.0
    assert second.account(BOB, QUOTA, 0.0).produce(1000, 0.0) == 0.0


def test_connections_are_counted_exactly_over_all() -> None:
    one, other = accounts(2)
    assert one.connect()
    assert other.connect()
    assert one.connect()
    assert not other.connect()
    assert not one.connect()
    one.disconnect()
    assert other.connect()


@pytest.mark.parametrize("kind", ["producer", "consumer"])
def test_producers_and_consumers_are_counted_exactly_over_all(kind: str) -> None:
    quota = replace(QUOTA, producers=2, consumers=2)
    one, other = (quotas.account(ANN, quota, 0.0) for quotas in workers(2))
    assert one.open_handle(kind)
    assert other.open_handle(kind)
    assert not one.open_handle(kind)
    assert not other.open_handle(kind)
    one.close_handle(kind)
    assert other.open_handle(kind)


def test_a_forgotten_account_gives_its_row_back() -> None:
    made = tables(1)
    quotas = SharedQuotas(Shares(b"secret", made[0], ()), idle_accounts_max=1)
    quotas.account(ANN, QUOTA, 0.0)
    quotas.account(BOB, QUOTA, 0.0)
    keys = [Shares(b"secret", made[0], ()).key(each.method, each.issuer, each.name) for each in (ANN, BOB)]
    assert made[0].find(keys[0]) is None
    assert made[0].find(keys[1]) is not None


def test_a_worker_that_was_emptied_counts_anew() -> None:
    """Its table is emptied when it dies: its connections are gone, and what it charged stays with the others."""
    made = tables(2)
    one = SharedQuotas(Shares(b"secret", made[0], (made[1],))).account(ANN, QUOTA, 0.0)
    other = SharedQuotas(Shares(b"secret", made[1], (made[0],))).account(ANN, QUOTA, 0.0)
    assert [one.connect(), one.connect(), other.connect()] == [True, True, True]
    other.produce(300_000, 0.0)
    owed = one.produce(0, 0.01)
    row = made[1].find(Shares(b"secret", made[1], ()).key(ANN.method, ANN.issuer, ANN.name))
    assert row is not None
    made[1].release(row)
    assert one.connect()
    assert one.produce(0, 0.02) == pytest.approx(owed - 0.01)

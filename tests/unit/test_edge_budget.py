"""The budget of buffered bytes: what is shared, how, and who waits for whom."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.identity import Principal
from gateway.edge.budget import Budget, Reservation

MIB = 1 << 20


def principal(name: object) -> Principal:
    return Principal("jwt", "test", str(name))


class Soon:
    """A loop's call_soon, run by hand."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)()


class House:
    def __init__(self, octets: int = 256 * MIB) -> None:
        self.soon = Soon()
        self.budget = Budget(octets, self.soon)
        self.woken: list[str] = []

    def reserve(self, name: str, octets: int) -> Reservation:
        return self.budget.reserve(principal(name), octets, lambda: self.woken.append(name))


def test_a_lone_principal_has_half_and_no_more() -> None:
    house = House()
    held = [house.reserve("a", 64 * MIB) for _ in range(3)]
    assert [each.granted for each in held] == [True, True, False]
    assert house.budget.held(principal("a")) == 128 * MIB


def test_others_go_on_while_one_has_its_half_and_waits() -> None:
    house = House()
    for _ in range(200):
        house.reserve("greedy", 64 * MIB)
    assert house.budget.held(principal("greedy")) == 128 * MIB
    assert house.reserve("other", MIB).granted
    large = house.reserve("other", 60 * MIB)
    house.soon.run()
    assert large.granted


def test_small_frames_find_room_beside_any_number_of_large_ones() -> None:
    house = House()
    for number in range(200):
        house.reserve(f"large-{number}", 64 * MIB)
    assert house.budget.used == 192 * MIB
    for number in range(64):
        assert house.reserve(f"small-{number}", MIB).granted


def test_a_principals_small_frames_do_not_stand_behind_its_large_ones() -> None:
    house = House()
    for _ in range(3):
        house.reserve("a", 64 * MIB)
    assert house.budget.waiting == 1
    assert house.reserve("a", 16 * MIB).granted
    assert house.reserve("a", 64 * 1024).granted


def test_a_large_frame_is_not_starved_by_small_ones() -> None:
    house = House(16 * MIB)  # large: over 1 MiB; at most 12 MiB of them
    small = [house.reserve(f"s{number}", MIB) for number in range(14)]
    large = house.reserve("large", 8 * MIB)
    assert not large.granted
    kept = 0
    while not large.granted:  # each small one that ends is followed by another that asks
        small.pop(0).release()
        house.soon.run()
        again = house.reserve(f"n{kept}", MIB)
        house.soon.run()
        kept += 1
        if again.granted:
            small.append(again)
        assert kept < 100


def test_the_largest_frame_is_granted_beside_small_ones() -> None:
    house = House()
    for number in range(32):
        assert house.reserve(f"s{number}", MIB).granted
    assert house.reserve("large", 100 * MIB).granted
    assert house.reserve("second", 92 * MIB).granted
    assert not house.reserve("third", 17 * MIB).granted


def test_those_who_wait_are_served_principals_in_turn() -> None:
    house = House(16 * MIB)
    first = house.budget.charge(None, 15 * MIB)
    for name in ("a", "a", "a", "b", "c"):
        house.reserve(name, MIB - 1)
    house.soon.run()
    assert house.woken == []  # the first had room at once
    first.release()
    house.soon.run()
    assert house.woken == ["a", "b", "c", "a"]


def test_giving_up_and_giving_back_twice_are_harmless() -> None:
    house = House(16 * MIB)
    held = house.reserve("a", 8 * MIB)
    waiting = house.reserve("a", 8 * MIB)
    assert house.budget.waiting == 1
    waiting.release()
    waiting.release()
    assert house.budget.waiting == 0
    held.release()
    held.release()
    house.soon.run()
    assert house.budget.used == 0
    assert house.woken == []


def test_exactly_the_maximum_is_granted_and_one_more_is_not() -> None:
    house = House(16 * MIB)
    assert house.budget.large_max == 12 * MIB
    assert house.reserve("a", 12 * MIB).granted
    assert house.reserve("b", MIB).granted
    assert not house.reserve("c", 3 * MIB + 1).granted
    assert house.budget.used <= 16 * MIB


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 12 * MIB), st.booleans()), max_size=60))
def test_never_more_than_the_budget_and_nothing_is_lost(steps: list[tuple[int, int, bool]]) -> None:
    house = House(16 * MIB)
    made: list[Reservation] = []
    for who, octets, give_back in steps:
        if give_back and made:
            made.pop(octets % len(made)).release()
        else:
            made.append(house.reserve(f"p{who}", octets))
        house.soon.run()
        assert house.budget.used <= 16 * MIB
        assert house.budget.used == sum(each.octets for each in made if each.granted)
        assert house.budget.waiting == sum(1 for each in made if not each.granted)
    while made:  # everybody gives back in turn: everybody who waits is served in the end
        granted = [each for each in made if each.granted]
        assert granted, "somebody waits while nothing is held"
        granted[0].release()
        made.remove(granted[0])
        house.soon.run()
    assert house.budget.used == 0
    assert house.budget.waiting == 0


def test_a_larger_budget_serves_who_waits() -> None:
    house = House(64 * MIB)
    held = [house.reserve("a", 16 * MIB), house.reserve("b", 16 * MIB), house.reserve("c", 16 * MIB)]
    waiting = house.reserve("d", 60 * MIB)
    assert (all(each.granted for each in held), waiting.granted) == (True, False)
    house.budget.resize(256 * MIB)
    house.soon.run()
    assert waiting.granted
    assert house.woken == ["d"]


def test_a_smaller_budget_takes_nothing_away_and_grants_no_more_until_there_is_room() -> None:
    house = House(256 * MIB)
    held = [house.reserve("a", 64 * MIB), house.reserve("b", 64 * MIB)]
    house.budget.resize(64 * MIB)
    assert house.budget.used == 128 * MIB
    assert not house.budget.at_ease
    later = house.reserve("c", MIB)
    house.soon.run()
    assert not later.granted
    for each in held:
        each.release()
    house.soon.run()
    assert later.granted
    later.release()
    assert house.budget.used == 0


@given(st.lists(st.tuples(st.sampled_from(["reserve", "resize", "release"]), st.integers(0, 200)), max_size=60))
def test_whatever_is_resized_all_of_it_is_given_back(steps: list[tuple[str, int]]) -> None:
    """What was small or large when it was asked for is so when it is given back."""
    house, held = House(), list[Reservation]()
    for what, number in steps:
        if what == "reserve":
            held.append(house.reserve(str(number % 3), number * MIB // 2))
        elif what == "resize":
            house.budget.resize((16 + number) * MIB)
        elif held:
            held.pop(number % len(held)).release()
        house.soon.run()
    for each in held:
        each.release()
        house.soon.run()
    assert (house.budget.used, house.budget.waiting, house.budget._large_used) == (0, 0, 0)
    assert house.budget._held == {}

"""Places: limits, who makes room when one is reached, and that nothing is counted twice or forgotten."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_address

import pytest

from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.core.settings import Limits
from gateway.edge import reasons
from gateway.edge.admission import GRACE_SECONDS, Admission, Origin, Place, origin


class Door:
    """An Admission, and who holds a place in it by name."""

    def __init__(self, **limits: int) -> None:
        self.cell = Cell()
        self.admission = Admission(Limits(**limits), self.cell)
        self.now = 100.0
        self.inside: dict[str, Place] = {}
        self.shed: list[tuple[str, str]] = []

    def come(self, name: str, address: str = "192.0.2.1", balancer: bool = False) -> str:
        """ "" if there was a place, else the reason's code."""
        place = Place(origin(ip_address(address), balancer), self.now)
        refused = self.admission.enter(place)
        if refused is not None:
            return refused.code
        place.shed = lambda limit: self._shed(name, limit)
        self.inside[name] = place
        return ""

    def _shed(self, name: str, limit: str) -> None:
        self.shed.append((name, limit))
        self.leave(name)

    def leave(self, name: str) -> None:
        self.admission.leave(self.inside.pop(name))

    def know(self, name: str) -> None:
        self.admission.authenticated(self.inside[name])

    def spend(self, name: str) -> None:
        self.admission.spend(self.inside[name])


def test_a_flood_from_one_address_refuses_itself() -> None:
    door = Door(unauthenticated_max=3)
    assert [door.come(name) for name in "abcd"] == ["", "", "", "unauthenticated-max"]
    assert door.shed == []


def test_somebody_from_elsewhere_comes_in_at_the_floods_expense_newest_first() -> None:
    door = Door(unauthenticated_max=4)
    for name in "abcd":
        door.come(name, "192.0.2.1")
    assert door.come("honest", "198.51.100.7") == ""
    assert door.come("another", "198.51.100.8") == ""
    assert door.shed == [("d", "unauthenticated_max"), ("c", "unauthenticated_max")]
    assert door.come("e", "192.0.2.1") == "unauthenticated-max", "the flood has the most even now"


def test_of_a_few_addresses_the_one_with_the_most_loses() -> None:
    door = Door(unauthenticated_max=6)
    for name, address in (("a1", "192.0.2.1"), ("b1", "192.0.2.2"), ("b2", "192.0.2.2"), ("b3", "192.0.2.2")):
        door.come(name, address)
    door.come("c1", "192.0.2.3")
    door.come("c2", "192.0.2.3")
    assert door.come("honest", "198.51.100.7") == ""
    assert door.shed == [("b3", "unauthenticated_max")]


def test_who_is_known_is_never_shed() -> None:
    door = Door(connections_max=3)
    for name in "abc":
        door.come(name)
        door.know(name)
    assert door.come("late", "198.51.100.7") == "connections-max"
    door.leave("b")
    assert door.come("new", "192.0.2.1") == ""
    assert door.come("late", "198.51.100.7") == "connections-max", "as many from either: the newest is refused"
    door.now += GRACE_SECONDS
    assert door.come("late", "198.51.100.7") == ""
    assert door.shed == [("new", "connections_max")]


def test_with_as_many_addresses_as_places_those_go_that_had_their_time() -> None:
    door = Door(unauthenticated_max=3)
    for number, name in enumerate("abc"):
        door.come(name, f"192.0.2.{number}")
        door.now += 0.5
    assert door.come("honest", "198.51.100.7") == "unauthenticated-max", "nobody is stopped in the middle of it"
    door.now = 100.0 + GRACE_SECONDS
    assert door.come("honest", "198.51.100.7") == ""
    assert door.come("more", "198.51.100.8") == "unauthenticated-max"
    assert door.shed == [("a", "unauthenticated_max")]


def test_whoever_was_let_in_has_its_time() -> None:
    """A botnet that renews its connections without an end does not push out who has just come."""
    door = Door(unauthenticated_max=50)
    for number in range(50):
        door.come(f"bot{number}", f"203.0.113.{number}")
    door.now += GRACE_SECONDS
    assert door.come("honest", "198.51.100.7") == ""
    for number in range(5000):
        door.now += (GRACE_SECONDS - 0.1) / 5000
        door.come(f"more{number}", f"10.{number // 250}.{number % 250}.1")
    assert "honest" in door.inside


def test_whose_login_was_refused_goes_first() -> None:
    door = Door(unauthenticated_max=4, connections_per_address_max=3)
    door.come("failed", "198.51.100.9")
    door.spend("failed")
    for name in "abc":
        door.come(name, "192.0.2.1")
    assert door.come("honest", "198.51.100.7") == ""
    assert door.shed == [("failed", "unauthenticated_max")]
    door.spend("b")
    assert door.come("d", "192.0.2.1") == ""
    assert door.shed[1:] == [("b", "connections_per_address_max")]


def test_an_addresses_share_is_its_own() -> None:
    door = Door(connections_per_address_max=2)
    door.come("a")
    door.come("b")
    assert door.come("c") == "connections-per-address-max"
    door.now += GRACE_SECONDS
    assert door.come("c") == ""
    assert door.shed == [("a", "connections_per_address_max")]
    door.know("b")
    door.know("c")
    assert door.come("d") == "connections-per-address-max"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_a_host_of_ipv6_has_its_64(one: str, other: str, same: bool) -> None:
    assert (origin(ip_address(one)) == origin(ip_address(other))) is same
    assert origin(ip_address(one)) != origin(ip_address(one), balancer=True)


def test_behind_a_balancer_the_named_address_counts() -> None:
    door = Door(connections_per_address_max=2, unauthenticated_max=10)
    for name in "abcd":
        assert door.come(name, "10.0.0.1", balancer=True) == "", "the balancer's own has no share"
    moved = {name: door.admission.move(door.inside[name], ip_address("192.0.2.1"), door.now) for name in "abc"}
    assert moved["a"] is moved["b"] is None
    assert moved["c"] is not None
    assert moved["c"].code == "connections-per-address-max"
    assert door.admission.move(door.inside["d"], ip_address("192.0.2.2"), door.now) is None


def test_any_coming_and_going_is_counted_right() -> None:
    lots = random.Random(4)
    door = Door(connections_max=40, unauthenticated_max=15, connections_per_address_max=12)
    for step in range(20_000):
        door.now += lots.random() * 0.5
        name = lots.choice([*door.inside, "nobody"])
        place = door.inside.get(name)
        known = [each for each, at in door.inside.items() if at.authenticated]
        match lots.randrange(6):
            case 0 | 1 | 2:
                door.come(f"c{step}", f"192.0.2.{lots.randrange(6)}", balancer=lots.random() < 0.3)
            case 3 if place is not None and not place.authenticated and not place.spent:
                door.know(name)
            case 4 if place is not None:
                lots.choice([door.spend, door.leave])(name)
            case 5 if place is not None and place.origin[0] and not place.authenticated and not place.spent:
                if door.admission.move(place, ip_address(f"192.0.2.{lots.randrange(6)}"), door.now) is not None:
                    door.leave(name)
            case _:
                continue
        admission = door.admission
        places = door.inside.values()
        nobody = [each for each in places if not each.authenticated]
        assert set(known) - door.inside.keys() <= {name}, "somebody known was shed"
        assert admission.total == len(door.inside) <= 40
        assert admission.unauthenticated == len(nobody) == door.cell.value <= 15
        waiting = Counter(each.origin for each in nobody if not each.spent)
        assert admission._most == max(waiting.values(), default=0)
        assert {theirs: len(each) for theirs, each in admission._waiting.items()} == waiting
        assert sorted(admission._spent, key=id) == sorted((each for each in nobody if each.spent), key=id)
        assert {theirs for crowd in admission._crowds.values() for theirs in crowd} == set(waiting)
        assert admission._counts == Counter(each.origin for each in places)
    for name in list(door.inside):
        door.leave(name)
    kept = (admission._counts, admission._waiting, admission._crowds, admission._spent, admission._spent_of)
    assert not any(kept)
    assert (admission.total, admission.unauthenticated, admission._most) == (0, 0, 0)


class Told:
    """Other workers with so many connections each; and what they were told."""

    def __init__(self, total: int = 0, unauthenticated: int = 0, of: int = 0) -> None:
        self.numbers = total, unauthenticated, of
        self.told = (0, 0)
        self.told_of: dict[Origin, int] = {}

    def total(self) -> int:
        return self.numbers[0]

    def unauthenticated(self) -> int:
        return self.numbers[1]

    def of(self, theirs: Origin) -> int:
        del theirs
        return self.numbers[2]

    def tell(self, total: int, unauthenticated: int) -> None:
        self.told = total, unauthenticated

    def tell_of(self, theirs: Origin, count: int) -> None:
        self.told_of[theirs] = count


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (Told(total=9), None),
        (Told(total=10), reasons.CONNECTIONS_MAX),
        (Told(unauthenticated=4), None),
        (Told(unauthenticated=5), reasons.UNAUTHENTICATED_MAX),
        (Told(of=2), None),
        (Told(of=3), reasons.CONNECTIONS_PER_ADDRESS_MAX),
    ],
)
def test_connections_of_other_workers_count_against_the_limits(others: Told, reason: Reason | None) -> None:
    limits = Limits(connections_max=10, unauthenticated_max=5, connections_per_address_max=3)
    admission = Admission(limits, Cell(), others)
    assert admission.enter(Place(origin(ip_address("10.0.0.1")), 0.0)) is reason


def test_other_workers_are_told_of_every_change() -> None:
    others = Told()
    admission = Admission(Limits(), Cell(), others)
    one, other = (Place(origin(ip_address("10.0.0.1")), 0.0) for _ in range(2))
    admission.enter(one)
    admission.enter(other)
    assert (others.told, others.told_of) == ((2, 2), {one.origin: 2})
    admission.authenticated(one)
    assert others.told == (2, 1)
    admission.move(other, ip_address("10.0.0.2"), 0.0)
    assert others.told_of == {one.origin: 1, other.origin: 1}
    admission.leave(one)
    assert others.told == (1, 1)
    admission.leave(other)
    assert (others.told, set(others.told_of.values())) == ((0, 0), {0})

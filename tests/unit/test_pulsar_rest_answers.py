"""Decisions about REST requests beside what a real broker answered (tests/real/pulsar/rest_answers.txt)."""

from __future__ import annotations

from tests.real.pulsar.rest_asking import (
    ADMIN,
    ASKED,
    CONSUME,
    DENIED,
    NOBODY,
    PRODUCE,
    SUPER,
    allowed,
    decided,
    worlds,
)
from tests.real.pulsar.rest_asking import answers as broker_answers
from tests.real.pulsar.rest_page import PAGE, STRICTER, page, unexplained


def test_the_gateway_never_allows_what_the_broker_denies_and_every_difference_is_explained() -> None:
    assert unexplained() == []


def test_every_route_was_asked() -> None:
    assert broker_answers().keys() == {request.row.route for request in ASKED}


def test_the_roles_are_told_apart() -> None:
    """Each has something that the one before it has not, at the broker and here."""
    made, told = worlds(), broker_answers()
    may = {
        role: {each.row.route for each in ASKED if allowed(decided(world, each))} for role, world in made.items()
    }  # fmt: skip
    assert may[NOBODY] == {"GET /admin/v2/clusters"}
    assert may[PRODUCE] - may[CONSUME]
    assert may[CONSUME] - may[PRODUCE]
    assert may[PRODUCE] | may[CONSUME] < may[ADMIN] < may[SUPER]
    assert may[SUPER] == {each.row.route for each in ASKED}
    assert any(each[PRODUCE] in DENIED and each[CONSUME] not in DENIED for each in told.values())


def test_the_page_is_current_and_its_reasons_are_used() -> None:
    written = PAGE.read_text()
    assert page() == written, "run: python -m tests.real.pulsar.rest_page"
    for number in range(1, len(STRICTER) + 1):
        assert f"({number})" in written, list(STRICTER)[number - 1]

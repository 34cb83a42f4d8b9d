"""How many connections the permitted open files are enough for."""

from __future__ import annotations

import resource

import pytest

from gateway.edge import open_files
from gateway.edge.open_files import KEPT_BACK, permitted
from gateway.edge.reasons import StartRefused

OPENED = 30


class System:
    """The limits of a process that has 30 files open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.limits = soft, hard
        monkeypatch.setattr(open_files, "_opened", lambda: OPENED)
        monkeypatch.setattr(resource, "getrlimit", lambda which: self.limits)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, which: int, limits: tuple[int, int]) -> None:
        assert limits[1] == self.limits[1], "the hard limit cannot be given back"
        assert limits[1] == resource.RLIM_INFINITY or limits[0] <= limits[1]
        self.limits = limits


def test_the_soft_limit_is_raised_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch, 1024, 524288)
    assert permitted(4000) == 4000
    assert system.limits == (OPENED + KEPT_BACK + 8000, 524288)


@pytest.mark.parametrize("limits", [(resource.RLIM_INFINITY,) * 2, (100_000, 100_000)])
def test_a_limit_that_is_enough_is_left_alone(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    system = System(monkeypatch, *limits)
    assert permitted(4000) == 4000
    assert system.limits == limits


def test_no_end_above_a_soft_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert permitted_of(monkeypatch, 1024, resource.RLIM_INFINITY, 4000) == 4000


@pytest.mark.parametrize(("hard", "fitting"), [(1024, 417), (KEPT_BACK + OPENED + 32, 16)])
def test_fewer_fit_than_were_asked_for(monkeypatch: pytest.MonkeyPatch, hard: int, fitting: int) -> None:
    assert permitted_of(monkeypatch, 256, hard, 4000) == fitting


def test_too_few_to_be_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartRefused) as caught:
        permitted_of(monkeypatch, 64, KEPT_BACK + OPENED + 31, 4000)
    assert caught.value.reason.code == "open-files-too-few"
    assert "4000 connections need" in caught.value.detail


def test_as_few_as_were_asked_for_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert permitted_of(monkeypatch, 64, KEPT_BACK + OPENED + 8, 4) == 4


def permitted_of(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int) -> int:
    System(monkeypatch, soft, hard)
    return permitted(connections)

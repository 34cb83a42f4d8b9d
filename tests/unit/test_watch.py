"""Changes of files, however they are made, each told once it has settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.edge import watch
from gateway.edge.watch import Fingerprint, Watch, fingerprint
from tests.edge import until

POLL = 0.01


class Told:
    def __init__(self) -> None:
        self.triggers: list[str] = []
        self.came = asyncio.Event()

    async def __call__(self, trigger: str) -> None:
        self.triggers.append(trigger)
        self.came.set()

    async def next(self) -> str:
        async with asyncio.timeout(60):
            await self.came.wait()
        self.came.clear()
        return self.triggers[-1]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Fingerprint]:
    """Every look that was taken."""
    taken: list[Fingerprint] = []

    def look(patterns: Sequence[str]) -> Fingerprint:
        taken.append(fingerprint(patterns))
        return taken[-1]

    monkeypatch.setattr(watch, "fingerprint", look)
    return taken


async def looked_again(looks: list[Fingerprint]) -> None:
    enough = len(looks) + 5
    await until(lambda: len(looks) >= enough)


@asynccontextmanager
async def watching(*patterns: Path, poll: float = POLL, seen: Fingerprint | None = None) -> AsyncIterator[Told]:
    told = Told()
    watched = Watch([str(pattern) for pattern in patterns], told, poll, seen)
    told.poke = watched.poke  # type: ignore[attr-defined]
    await watched.start()
    try:
        yield told
    finally:
        await watched.close()


def rewrite(folder: Path) -> None:
    (folder / "a.yaml").write_text("longer than before")


def rename_over(folder: Path) -> None:
    (folder / "new").write_text("a")
    (folder / "new").replace(folder / "a.yaml")


def remove(folder: Path) -> None:
    (folder / "a.yaml").unlink()


def add(folder: Path) -> None:
    (folder / "b.yaml").write_text("b")


def rename(folder: Path) -> None:
    (folder / "a.yaml").rename(folder / "z.yaml")


@pytest.mark.parametrize("change", [rewrite, rename_over, remove, add, rename], ids=lambda each: each.__name__)
async def test_each_kind_of_change_is_told_once(
    tmp_path: Path, change: Callable[[Path], None], looks: list[Fingerprint]
) -> None:
    (tmp_path / "a.yaml").write_text("a")
    async with watching(tmp_path / "*.yaml") as told:
        change(tmp_path)
        assert await told.next() == "file"
        await looked_again(looks)
        assert told.triggers == ["file"]


async def test_a_swapped_symlink_of_a_folder_is_a_change(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text("same size")
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "a.yaml").symlink_to("data/a.yaml")
    async with watching(tmp_path / "a.yaml") as told:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "data")
        assert await told.next() == "file"


async def test_what_is_not_matched_is_no_change(tmp_path: Path, looks: list[Fingerprint]) -> None:
    async with watching(tmp_path / "*.yaml", tmp_path / "one.json") as told:
        (tmp_path / "other.txt").write_text("x")
        await looked_again(looks)
        assert told.triggers == []
        (tmp_path / "one.json").write_text("{}")
        assert await told.next() == "file"


async def test_a_poke_is_told_even_if_nothing_changed_and_does_not_wait_for_the_poll(tmp_path: Path) -> None:
    async with watching(tmp_path / "*.yaml", poll=60.0) as told:
        told.poke()  # type: ignore[attr-defined]
        assert await told.next() == "poke"
        (tmp_path / "a.yaml").write_text("a")
        told.poke()  # type: ignore[attr-defined]
        assert await told.next() == "poke"


async def test_a_set_that_is_still_changing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Fingerprint] = [(("a", number),) for number in (0, 1, 2, 3, 3, 3, 3, 3, 3)]
    shown: list[Fingerprint] = []

    def look(_: object) -> Fingerprint:
        shown.append(looks.pop(0) if len(looks) > 1 else looks[0])
        return shown[-1]

    monkeypatch.setattr(watch, "fingerprint", look)
    async with watching(tmp_path / "*.yaml") as told:
        await told.next()
        assert shown[-2:] == [(("a", 3),)] * 2
        assert told.triggers == ["file"]


async def test_a_change_before_the_start_is_not_missed(tmp_path: Path) -> None:
    pattern = tmp_path / "*.yaml"
    loaded = fingerprint([str(pattern)])
    (tmp_path / "a.yaml").write_text("written while the gateway started")
    async with watching(pattern, seen=loaded) as told:
        assert await told.next() == "file"


async def test_a_watch_of_no_files_looks_once_it_has_some(tmp_path: Path) -> None:
    """As after a reload that names the first ones."""
    told = Told()
    watched = Watch([], told, POLL)
    await watched.start()
    await until(lambda: watched._resting)
    pattern = str(tmp_path / "*.yaml")
    watched.use([pattern], POLL, fingerprint([pattern]))
    (tmp_path / "a.yaml").write_text("a")
    assert await told.next() == "file"
    await watched.close()


async def test_a_failing_callback_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    again = asyncio.Event()

    async def failing(trigger: str) -> None:
        calls.append(trigger)
        if len(calls) == 2:
            again.set()
        raise RuntimeError("a bug")

    watched = Watch([str(tmp_path / "*.yaml")], failing, POLL)
    await watched.start()
    watched.poke()
    async with asyncio.timeout(60):
        while not calls:
            await asyncio.sleep(0.005)
        watched.poke()
        await again.wait()
    await watched.close()
    assert "a bug" in caplog.text


def test_paths_that_cannot_be_looked_at_have_a_fingerprint_too(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert len(fingerprint([str(tmp_path / "none"), str(tmp_path / "loop"), "\0"])) == 3

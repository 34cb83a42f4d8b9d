"""Questions and answers between the office and one worker, over a local socket: JSON, each with its length in front.

    channel = Channel(reader, writer, {"status": answer_status})
    value = await channel.ask("status", seconds=2.0)
    channel.tell("keys", issuer="corp", jwks=...)

A `tell` is done before the next message is looked at, so what was told before an answer is known when that arrives. An
`ask` is answered by a task of its own. Both ends are this program; what is past a bound, or is no message, ends the
channel. A handler's exception is the asker's `Refused`, by its type's name alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

MESSAGE_BYTES_MAX = 128 << 20
GREETING_BYTES_MAX = 4096
"""A message of somebody who has not proven yet that he belongs here."""
TASKS_MAX = 256
"""Questions of the other side that are being answered; more end the channel."""
_LENGTH = struct.Struct(">I")

log = logging.getLogger("gateway.workers")

Fields = dict[str, Any]
Answerer = Callable[[Fields], Awaitable[object]]
Hearer = Callable[[Fields], None]


class ChannelLost(Exception):
    """The other side is gone, or did not answer in time."""


class Refused(Exception):
    """The other side could not do it. Its word for why."""


class Channel:
    """One end. `run` until the other side is gone."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: Mapping[str, Answerer],
        hears: Mapping[str, Hearer],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._hears = hears
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.octets_max = MESSAGE_BYTES_MAX
        """Of one message of the other side."""
        self.lost = False

    async def run(self) -> None:
        """Read until the other side is gone. Never raises but when cancelled."""
        try:
            while True:
                await self._one(await self._message())
        except (OSError, EOFError):
            pass
        except Exception:
            log.exception("a channel between processes of the gateway ends")
        finally:
            self.close()

    def close(self) -> None:
        self.lost = True
        self._writer.close()
        for task in self._tasks:
            task.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChannelLost("the other process is gone"))
        self._waiting.clear()

    def tell(self, word: str, /, **fields: object) -> None:
        """Say something that is not answered."""
        if not self.lost:
            self._send({"tell": word, "with": fields})

    async def ask(self, word: str, /, *, seconds: float, **fields: object) -> Any:
        """The answer. Raises ChannelLost, Refused."""
        if self.lost:
            raise ChannelLost("the other process is gone")
        number = next(self._ids)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send({"ask": word, "number": number, "with": fields})
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise ChannelLost(f"no answer within {seconds:g} s") from None
        finally:
            self._waiting.pop(number, None)

    async def _message(self) -> Fields:
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        if length > self.octets_max:
            raise ValueError("a message past the bound")
        found = json.loads(await self._reader.readexactly(length))
        if not isinstance(found, dict):
            raise TypeError("no message")
        return found

    async def _one(self, message: Fields) -> None:
        if "tell" in message:
            self._hears[message["tell"]](message["with"])
        elif "ask" in message:
            if len(self._tasks) >= TASKS_MAX:
                raise ValueError("too many questions at once")
            task = asyncio.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            future = self._waiting.pop(message["number"], None)
            if future is None or future.done():
                return
            if "refused" in message:
                future.set_exception(Refused(message["refused"]))
            else:
                future.set_result(message["answer"])

    async def _answer(self, message: Fields) -> None:
        try:
            said: Fields = {"answer": await self._answers[message["ask"]](message["with"])}
        except Exception as error:
            log.exception("a question of another process could not be answered: %s", message["ask"])
            said = {"refused": type(error).__name__}
        if not self.lost:
            self._send({"number": message["number"], **said})

    def _send(self, message: Fields) -> None:
        text = json.dumps(message).encode()
        self._writer.write(_LENGTH.pack(len(text)) + text)

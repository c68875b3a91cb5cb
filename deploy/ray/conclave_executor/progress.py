"""Tells the host how one generation comes along; what is lost costs a watcher a piece, and nobody the answer."""

from __future__ import annotations

import asyncio

from . import codec
from .answer import Answer
from .broker import Broker
from .work import PROTOCOL, Place

# At most so often; the first token is told at once.
_INTERVAL_SECONDS = 0.05


class Progress:
    """The progress messages of one work."""

    __slots__ = ("_answer", "_broker", "_next_at", "_subject", "_task", "_timer")

    def __init__(self, broker: Broker, subject: str, answer: Answer) -> None:
        self._broker = broker
        self._subject = subject
        self._answer = answer
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def started(self, place: Place) -> None:
        """The request is about to be sent to the engine."""
        await self._broker.send(self._subject, codec.encode({"v": PROTOCOL, "started": place.fields()}))

    async def news(self) -> None:
        """Something new has come: tells it now or, if something was told just now, soon."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._next_at:
            self._next_at = now + _INTERVAL_SECONDS
            await self._tell()
        elif self._timer is None:
            self._timer = loop.call_at(self._next_at, self._soon)

    async def finish(self) -> None:
        """Tells what was not told yet."""
        self.close()
        if self._answer.has_news:
            await self._tell()

    def close(self) -> None:
        """Tells nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _soon(self) -> None:
        self._timer = None
        self._next_at = asyncio.get_running_loop().time() + _INTERVAL_SECONDS
        self._task = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        # What is new is taken before anything is waited for: pieces leave in their order.
        if news := self._answer.news():
            try:
                message = codec.encode({"v": PROTOCOL, "choices": news})
            except ValueError:
                return
            await self._broker.send(self._subject, message)

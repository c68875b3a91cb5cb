"""The driver: prepares the queue, keeps the actors at work, and says when all is over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from typing import Protocol

from .broker import Broker
from .console import fault, say
from .errors import CannotWork
from .settings import Settings
from .work_queue import Wave, prepare

_CONNECT_SECONDS = 30.0
_WAVE_POLL_SECONDS = 0.5
_RESTART_SECONDS = 1.0
_DRAIN_MARGIN_SECONDS = 5.0


class Actor(Protocol):
    """One worker, wherever it runs."""

    def work(self) -> Awaitable[None]:
        """Works until it is drained; fails if the worker does, or has died."""

    async def drain(self) -> None:
        """Asks for the end of `work`."""


class Actors(Protocol):
    """Makes workers."""

    def make(self, number: int) -> Actor:
        """Places the worker with this number, in place of an earlier one with it that has died."""


async def execute(settings: Settings, actors: Actors) -> None:
    """Works until SIGTERM, or until the wave has ended; raises `CannotWork` if that cannot be."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = Broker(settings, f"conclave-executor {settings.submission_id}")
    try:
        await _unless(stop, _prepared(broker, settings))
        if stop.is_set():
            return
        keepers = [_Keeper(actors, number) for number in range(settings.actors)]
        tasks = [asyncio.ensure_future(keeper.keep()) for keeper in keepers]
        wave = None if settings.count is None else Wave(broker, settings, settings.count)
        await _until_over(stop, broker, wave)
        say("takes no more work" if stop.is_set() else "the wave has ended")
        await asyncio.gather(*(keeper.drain() for keeper in keepers))
        # An actor that was never placed does not answer: nothing of its is lost.
        await asyncio.wait(tasks, timeout=settings.drain_ms / 1000 + _DRAIN_MARGIN_SECONDS)
        if wave is not None and not stop.is_set():
            await wave.remove()
    finally:
        await broker.close()


async def _prepared(broker: Broker, settings: Settings) -> None:
    say(f"connects to NATS for queue `{settings.queue}` of cluster `{settings.cluster}`")
    await broker.connect(_CONNECT_SECONDS)
    await prepare(broker, settings)


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Does something until it is done or `stop` is set; raises what it raises."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


async def _until_over(stop: asyncio.Event, broker: Broker, wave: Wave | None) -> None:
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), _WAVE_POLL_SECONDS)
        except asyncio.TimeoutError:
            if broker.closed.is_set():
                raise CannotWork("NATS has sent the executor away") from None
            if wave is not None and await wave.has_ended():
                return


class _Keeper:
    """Keeps one actor at work: makes another when it dies."""

    def __init__(self, actors: Actors, number: int) -> None:
        self._actors = actors
        self._number = number
        self._actor: Actor | None = None
        self._is_draining = asyncio.Event()

    async def keep(self) -> None:
        while not self._is_draining.is_set():
            self._actor = self._actors.make(self._number)
            try:
                await self._actor.work()
            except CannotWork as error:
                problem = str(error)
            except Exception as error:
                # Whatever ends a worker: another one is made.
                problem = fault(error)
            else:
                return
            if not self._is_draining.is_set():
                say(f"worker {self._number} has died and is made anew: {problem}")
                await _sleep(self._is_draining, _RESTART_SECONDS)

    async def drain(self) -> None:
        self._is_draining.set()
        if self._actor is not None:
            try:
                await self._actor.drain()
            except Exception as error:
                # It has died, and its work is delivered again.
                say(f"worker {self._number} could not be drained: {type(error).__name__}")


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)

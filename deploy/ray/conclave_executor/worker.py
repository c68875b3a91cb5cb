"""One actor's work: as many generations at a time as it has slots."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Coroutine, Mapping

import nats.errors
from nats.aio.msg import Msg

from . import VERSION, codec
from .broker import Broker
from .cancels import Cancels
from .console import fault, say
from .delivery import Delivery
from .engine import Engine
from .errors import CannotWork
from .pull import Pull
from .redelivery import Redelivery
from .run import Run, Tools
from .settings import Settings
from .work import PROTOCOL, Place
from .work_queue import make_consumer

_CONNECT_SECONDS = 30.0
_HEARTBEAT_SECONDS = 1.0
# How long putting back may take at the end of a drain.
_PUT_BACK_SECONDS = 0.5


class Worker:
    """Takes work of one queue, runs it, and says how it fares."""

    def __init__(self, settings: Settings, place: Place, node_ip: str, api_keys: Mapping[str, str]) -> None:
        self._settings = settings
        self._place = place
        self._node_ip = node_ip
        self._api_keys = api_keys
        self._running: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancels = Cancels()
        self._done = 0
        # The connection of the last sign of life, and when the next one is late.
        self._signed = 1
        self._silent_at = math.inf
        self._is_draining = False
        self._is_idle = asyncio.Event()
        self._drain_wanted = asyncio.Event()

    async def run(self) -> None:
        """Works until it is drained; raises `CannotWork` if NATS sends it away."""
        self._broker = Broker(self._settings, f"conclave-executor {self._place.actor}")
        await self._broker.connect(_CONNECT_SECONDS)
        engine = Engine(self._api_keys)
        self._tools = Tools(
            broker=self._broker,
            engine=engine,
            redelivery=Redelivery(self._broker, self._settings.tries_max),
            cancels=self._cancels,
            place=self._place,
            tries_max=self._settings.tries_max,
        )
        self._pull = Pull(self._broker, self._settings.queue, self._room, self._take)
        beats = (
            asyncio.ensure_future(self._every(_HEARTBEAT_SECONDS, self._heartbeat)),
            asyncio.ensure_future(self._every(self._settings.ack_wait_ms / 3000, self._in_progress)),
        )
        ends = (
            asyncio.ensure_future(self._drain_wanted.wait()),
            asyncio.ensure_future(self._broker.closed.wait()),
        )
        try:
            await self._broker.client.subscribe(self._broker.names.cancel, cb=self._on_cancel)
            await self._broker.client.subscribe(self._broker.names.ask, cb=self._on_ask)
            await self._pull.start()
            say(f"{self._place.actor} takes work of `{self._settings.queue}` on {self._place.node}")
            # A beat ends only by a fault.
            await asyncio.wait((*beats, *ends), return_when=asyncio.FIRST_COMPLETED)
            for beat in beats:
                if beat.done():
                    beat.result()
            if self._broker.closed.is_set():
                raise CannotWork(f"NATS has sent {self._place.actor} away")
            await self._drain()
        finally:
            for task in (*beats, *ends, *self._tasks):
                task.cancel()
            await engine.close()
            await self._broker.close()

    def drain(self) -> None:
        """Asks for no more work: `run` returns when what runs has ended or was put back."""
        self._drain_wanted.set()

    async def _drain(self) -> None:
        self._is_draining = True
        await self._pull.stop()
        await self._wait_until_idle(self._settings.drain_ms / 1000)
        for run in list(self._running.values()):
            run.stop("drain")
        await self._wait_until_idle(_PUT_BACK_SECONDS)

    async def _wait_until_idle(self, seconds: float) -> None:
        if self._running:
            self._is_idle.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_idle.wait(), seconds)

    def _room(self) -> int:
        return 0 if self._is_draining else self._settings.slots - len(self._running)

    def _take(self, msg: Msg) -> None:
        delivery = Delivery(self._broker, msg)
        known = self._running.get(delivery.key)
        if known is not None:
            # NATS was away for longer than `ack_wait`, and this actor never stopped.
            known.delivery.take_over(delivery)
        elif self._room() > 0:
            run = self._running[delivery.key] = Run(self._tools, delivery)
            self._spawn(self._live(run))
        else:
            self._spawn(delivery.put_back())

    async def _live(self, run: Run) -> None:
        try:
            if await run.live():
                self._done += 1
        except Exception as error:
            # A fault of the executor: redelivery counts it, and the dead letters end it.
            say(f"{run.delivery.id} is left to redelivery: {fault(error)}")
        finally:
            del self._running[run.delivery.key]
            if not self._running:
                self._is_idle.set()
        await self._pull.top_up()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_cancel(self, msg: Msg) -> None:
        try:
            message = codec.decode(msg.data)
            ids = [id for id in message["ids"] if isinstance(id, str)] if message.get("v") == PROTOCOL else []
        except (ValueError, AttributeError, KeyError, TypeError):
            say("a message that cancels cannot be read")
            return
        self._cancels.add(ids)
        wanted = set(ids)
        for run in list(self._running.values()):
            if run.delivery.id in wanted:
                run.stop("host")

    async def _on_ask(self, msg: Msg) -> None:
        """Another actor was given work because a sign of life was late."""
        try:
            id = codec.decode(msg.data)["id"]
        except (ValueError, KeyError, TypeError):
            return
        if any(run.is_begun and run.delivery.id == id for run in self._running.values()):
            await self._broker.send(msg.reply, codec.encode({"v": PROTOCOL, "verdict": "held"}))

    async def _every(self, seconds: float, beat: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await beat()
            await asyncio.sleep(seconds)

    async def _in_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        sign = (self._broker.connections, now + self._settings.ack_wait_ms / 1000)
        # After a silence, whoever is given the work may have begun it.
        was_silent = self._signed != sign[0] or now >= self._silent_at
        if was_silent:
            await asyncio.gather(*map(self._leave_if_superseded, list(self._running.values())))
        for run in list(self._running.values()):
            await run.delivery.in_progress()
        if self._broker.client.is_connected:
            self._signed, self._silent_at = sign

    async def _leave_if_superseded(self, run: Run) -> None:
        try:
            if not await run.is_superseded():
                return
        except nats.errors.Error:
            # Both end it, and the host takes the first result.
            return
        say(f"{run.delivery.id} is left to the actor that has begun it since")
        run.stop("superseded")

    async def _heartbeat(self) -> None:
        heartbeat = {
            "v": PROTOCOL,
            "queue": self._settings.queue,
            **self._place.fields(),
            "node_ip": self._node_ip,
            "pid": os.getpid(),
            "slots": self._settings.slots,
            "running": [run.delivery.id for run in self._running.values()],
            "done": self._done,
            "version": VERSION,
        }
        await self._broker.send(self._broker.names.heartbeat, codec.encode(heartbeat))
        if self._pull.is_void and not self._is_draining:
            await self._ask_anew()

    async def _ask_anew(self) -> None:
        """The server knows nothing of what was asked for: the consumer may be gone too."""
        try:
            await make_consumer(self._broker, self._settings)
            await self._pull.start()
        except CannotWork as error:
            say(f"{self._place.actor} cannot ask for work: {error}")

"""Asks a pull consumer for as much work as there is room for.

The client's own `fetch` asks, waits and asks again; here requests stay open at the server, so that work comes the
moment it is there, and they are renewed when half of what was asked for has come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from . import codec
from .broker import Broker

_EXPIRES_SECONDS = 30
_IDLE_HEARTBEAT_SECONDS = 5
# A server that is silent for longer than two of its heartbeats has lost the requests.
_SILENCE_SECONDS = 2.5 * _IDLE_HEARTBEAT_SECONDS
_NANOSECONDS = 1_000_000_000


class Pull:
    """Open requests for work to one consumer."""

    def __init__(self, broker: Broker, consumer: str, room: Callable[[], int], on_work: Callable[[Msg], None]) -> None:
        """`room` says how many works could be taken if nothing had been asked for."""
        self._broker = broker
        self._room = room
        self._on_work = on_work
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{broker.names.work_stream}.{consumer}"
        self._subscription: Subscription | None = None
        self._inbox = ""
        # How much was asked for and has not come.
        self._open = 0
        self._heard = 0.0
        self._connection = 0
        self._is_lost = False

    async def start(self) -> None:
        """Begins to ask, on a new inbox: what was asked for before is void."""
        await self.stop()
        self._open = 0
        self._is_lost = False
        self._connection = self._broker.connections
        self._inbox = self._broker.client.new_inbox()
        self._heard = self._now()
        # The callback knows its inbox: work for an earlier one is not counted.
        self._subscription = await self._broker.client.subscribe(self._inbox, cb=partial(self._on_message, self._inbox))
        await self.top_up()

    async def stop(self) -> None:
        """Asks for no more. Work that is on its way is still given out."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
                await subscription.drain()  # type: ignore[no-untyped-call]

    async def top_up(self) -> None:
        """Asks for more if there is room for much more than was asked for."""
        if self._subscription is None or self._is_lost or not self._broker.client.is_connected:
            return
        room = self._room()
        if self._open > room // 2 or self._open >= room:
            return
        batch = room - self._open
        self._open = room
        request = {
            "batch": batch,
            "expires": _EXPIRES_SECONDS * _NANOSECONDS,
            "idle_heartbeat": _IDLE_HEARTBEAT_SECONDS * _NANOSECONDS,
        }
        try:
            await self._broker.client.publish(self._next, codec.encode(request), reply=self._inbox)
        except (nats.errors.Error, OSError):
            self._is_lost = True

    @property
    def is_void(self) -> bool:
        """Whether what was asked for will never come: `start` asks anew."""
        if self._subscription is None or not self._broker.client.is_connected:
            return False
        is_silent = self._open > 0 and self._now() - self._heard > _SILENCE_SECONDS
        return self._is_lost or is_silent or self._connection != self._broker.connections

    async def _on_message(self, inbox: str, msg: Msg) -> None:
        is_current = inbox == self._inbox
        if is_current:
            self._heard = self._now()
        status = msg.headers.get("Status") if msg.headers and not msg.data else None
        if status is None:
            if is_current:
                self._open = max(0, self._open - 1)
            self._on_work(msg)
        elif is_current and status != "100":
            # A request has ended; the server says how much of it is left, unless it knows nothing of it.
            left = (msg.headers or {}).get("Nats-Pending-Messages", "")
            if left.isdigit():
                self._open = max(0, self._open - int(left))
            else:
                self._is_lost = True
        if status != "100":
            await self.top_up()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

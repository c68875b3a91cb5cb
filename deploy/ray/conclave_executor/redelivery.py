"""What to do with work that was delivered before: whoever had it may have died, or may have ended it."""

from __future__ import annotations

import contextlib
import time
from enum import Enum, auto

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from . import codec
from .broker import Broker
from .delivery import Delivery

_ASK_SECONDS = 1.0
# How long an actor that still runs the work may take to say so, after the host has answered.
_HELD_SECONDS = 0.5


class Verdict(Enum):
    """What becomes of work that is delivered again."""

    RUN = auto()
    # It has a result, or nobody waits for it.
    OVER = auto()
    # No host answers, or another actor still runs it: nothing is decided now.
    UNKNOWN = auto()
    # It was started too often without an end.
    POISON = auto()


class Redelivery:
    """Decides about work that is delivered again, and counts how often work was started."""

    def __init__(self, broker: Broker, tries_max: int) -> None:
        self._broker = broker
        self._tries_max = tries_max
        self._js: JetStreamContext = broker.client.jetstream()
        self._bucket: KeyValue | None = None

    async def judge(self, delivery: Delivery) -> Verdict:
        """Decides. Raises `nats.errors.Error` if NATS does not answer: then nothing is decided."""
        if await self._has_result(delivery):
            return Verdict.OVER
        verdict = await self._ask(delivery)
        if verdict == "drop":
            return Verdict.OVER
        if verdict != "run":
            return Verdict.UNKNOWN
        tries = await self._tries(delivery)
        if tries >= self._tries_max:
            return Verdict.POISON
        delivery.tries_before = tries
        await self._count(delivery, tries + 1)
        return Verdict.RUN

    async def is_superseded(self, delivery: Delivery) -> bool:
        """Whether another actor has started the work since this one has: the stream took this one for dead."""
        return await self._tries(delivery) > delivery.tries_before + 1

    async def uncount(self, delivery: Delivery) -> None:
        """The work is put back by a drain: that start was not its fault."""
        # Where it cannot be told, it counts, which costs one try.
        with contextlib.suppress(nats.errors.Error):
            await self._count(delivery, delivery.tries_before)

    async def _has_result(self, delivery: Delivery) -> bool:
        """Whether it ended since it was queued: the same id may have been cancelled and queued again."""
        names = self._broker.names
        try:
            last = await self._js.get_last_msg(names.results_stream, names.result(delivery.key))
        except nats.js.errors.NotFoundError:
            return False
        return last.time is not None and last.time.timestamp() * 1000 >= delivery.published_ms

    async def _ask(self, delivery: Delivery) -> str | None:
        """What the host that waits for the work says, unless an actor says that it still runs it: only its sign of
        life is late. `None` if nobody says anything.
        """
        client = self._broker.client
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        said: str | None = None
        try:
            await client.publish(self._broker.names.ask, codec.encode({"v": 1, "id": delivery.id}), reply=inbox)
            end = time.monotonic() + _ASK_SECONDS
            while said not in ("drop", "held"):
                answer = await answers.next_msg(max(0.001, end - time.monotonic()))
                said = _verdict(answer.data) or said
                if said == "run":
                    end = min(end, time.monotonic() + _HELD_SECONDS)
        except nats.errors.TimeoutError:
            pass
        finally:
            await answers.unsubscribe()
        return said

    async def _tries(self, delivery: Delivery) -> int:
        """How often the work was started; its first delivery is not counted in the bucket."""
        try:
            entry = await (await self._tries_bucket()).get(delivery.key)
        except nats.js.errors.KeyNotFoundError:
            return 1
        return int(entry.value or b"1")

    async def _count(self, delivery: Delivery, tries: int) -> None:
        await (await self._tries_bucket()).put(delivery.key, str(tries).encode())

    async def _tries_bucket(self) -> KeyValue:
        if self._bucket is None:
            self._bucket = await self._js.key_value(self._broker.names.tries_bucket)
        return self._bucket


def _verdict(data: bytes) -> str | None:
    try:
        verdict = codec.decode(data).get("verdict")
    except (ValueError, AttributeError):
        return None
    return verdict if isinstance(verdict, str) else None

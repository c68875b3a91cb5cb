"""One work in an actor: decide whether it is to be run, run it, send its result, and only then acknowledge it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

import nats.errors

from . import codec
from .answer import Answer
from .broker import Broker
from .cancels import Cancels
from .console import say
from .delivery import Delivery
from .engine import Engine
from .progress import Progress
from .redelivery import Redelivery, Verdict
from .watch import Reason, Watch
from .work import PROTOCOL, Answered, Cancelled, Dead, Failed, Outcome, Place, Result, UnreadableWork, Work

# When work about which nothing is known is delivered again.
_PUT_BACK_SECONDS = 2.0


@dataclass(frozen=True)
class Tools:
    """What every run of an actor shares."""

    broker: Broker
    engine: Engine
    redelivery: Redelivery
    cancels: Cancels
    place: Place
    tries_max: int


class Run:
    """What becomes of one work."""

    def __init__(self, tools: Tools, delivery: Delivery) -> None:
        self._tools = tools
        self.delivery = delivery
        self._watch: Watch | None = None
        self._stopped_by: Reason | None = None
        self._started_ms: float | None = None
        self._tokens = 0

    def stop(self, reason: Reason) -> None:
        """Ends the work before its end: the connection to the engine is closed at once."""
        if self._watch is not None:
            self._watch.stop(reason)
        elif self._stopped_by is None:
            self._stopped_by = reason

    @property
    def is_begun(self) -> bool:
        """Whether it was started in the engine, by this actor."""
        return self._started_ms is not None

    async def is_superseded(self) -> bool:
        """Whether another actor has started it since; raises `nats.errors.Error` if NATS does not tell."""
        return self.is_begun and await self._tools.redelivery.is_superseded(self.delivery)

    async def live(self) -> bool:
        """Does all that is to be done; whether the work has ended, and is not put back."""
        delivery = self.delivery
        try:
            outcome = await self._outcome()
        except nats.errors.Error as error:
            say(f"{delivery.id} is put back: NATS did not answer ({type(error).__name__})")
            await delivery.put_back(_PUT_BACK_SECONDS)
            return False
        if outcome is None:
            return False
        if outcome is Verdict.OVER:
            return await delivery.ack()
        return await self._end(outcome)

    async def _outcome(self) -> Outcome | Literal[Verdict.OVER] | None:
        """How the work ends: `OVER` if it has ended before, `None` if it was put back."""
        delivery = self.delivery
        try:
            work = Work.parse(delivery.data, delivery.id)
        except UnreadableWork as error:
            return await self._bury(str(error))
        if delivery.number > 1:
            verdict = await self._tools.redelivery.judge(delivery)
            if verdict is Verdict.POISON:
                return await self._bury(f"it was started {self._tools.tries_max} times and never ended")
            if verdict is Verdict.UNKNOWN and time.time() * 1000 < work.deadline_ms:
                await delivery.put_back(_PUT_BACK_SECONDS)
                return None
            if verdict is Verdict.OVER:
                return Verdict.OVER
        if self._stopped_by is None and self._tools.cancels.covers(delivery.id, delivery.published_ms):
            self._stopped_by = "host"
        if self._stopped_by is None and time.time() * 1000 >= work.deadline_ms:
            self._stopped_by = "deadline"
        if self._stopped_by is None:
            return await self._generate(work)
        return await self._stopped(self._stopped_by, None)

    async def _generate(self, work: Work) -> Outcome | None:
        """Runs the work in the engine; `None` if it was put back."""
        tools = self._tools
        answer = Answer(work.choices)
        progress = Progress(tools.broker, tools.broker.names.progress(self.delivery.key), answer)
        self._started_ms = time.time() * 1000
        watch = self._watch = Watch(work)
        try:
            await progress.started(tools.place)
            outcome = await tools.engine.generate(work, answer, watch, progress.news)
            watch.close()
        except asyncio.CancelledError:
            if watch.reason is None:
                raise
            return await self._stopped(watch.reason, answer, watch.silence_ms)
        finally:
            watch.close()
            progress.close()
            self._tokens = answer.tokens
        await progress.finish()
        return outcome

    async def _stopped(self, reason: Reason, answer: Answer | None, silence_ms: int = 0) -> Outcome | None:
        if reason == "host" or reason == "deadline":
            return Cancelled(reason)
        if reason == "silence":
            if answer is not None and answer.is_finished:
                return Answered(answer.completed())
            return Failed("stalled", "the engine was silent for too long", silence_ms)
        if reason == "superseded":
            # The stream listens to the other actor alone.
            return None
        # A drain.
        await self._tools.redelivery.uncount(self.delivery)
        await self.delivery.put_back()
        return None

    async def _bury(self, reason: str) -> Outcome | None:
        """Sends the work to the dead letters; it is put back while they do not take it."""
        delivery, broker = self.delivery, self._tools.broker
        say(f"{delivery.id} goes to the dead letters: {reason}")
        letter = {"v": PROTOCOL, "id": delivery.id, "reason": reason, "deliveries": delivery.number}
        try:
            payload = codec.encode({**letter, "work": codec.decode(delivery.data)})
        except ValueError:
            payload = codec.encode({**letter, "work": delivery.data.decode(errors="replace")})
        if len(payload) > broker.client.max_payload:
            payload = codec.encode({**letter, "work": None})
        if await broker.store(broker.names.dead(delivery.key), payload):
            return Dead(reason)
        await delivery.put_back(_PUT_BACK_SECONDS)
        return None

    async def _end(self, outcome: Outcome) -> bool:
        """Sends the result, and acknowledges the work once the stream has the result."""
        broker, delivery = self._tools.broker, self.delivery
        try:
            payload = self._result(outcome)
        except ValueError:
            payload = self._result(Failed("protocol", "its answer cannot be written as JSON in UTF-8"))
        bound = broker.client.max_payload
        if len(payload) > bound:
            too_large = f"its answer of {len(payload)} bytes is larger than the {bound} bytes of NATS' `max_payload`"
            payload = self._result(Failed("protocol", too_large))
        # Without a result in the stream, the work is left to redelivery.
        return await broker.store(broker.names.result(delivery.key), payload) and await delivery.ack()

    def _result(self, outcome: Outcome) -> bytes:
        delivery = self.delivery
        now = time.time() * 1000
        started_ms = now if self._started_ms is None else self._started_ms
        result = Result(
            id=delivery.id,
            outcome=outcome,
            tokens=self._tokens,
            place=None if self._started_ms is None else self._tools.place,
            # The clock of NATS may be a little ahead.
            queued_ms=max(0, round(started_ms - delivery.published_ms)),
            ran_ms=max(0, round(now - started_ms)),
            delivery=delivery.number,
        )
        return result.encode()

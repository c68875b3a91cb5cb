"""What a plugin can do while it runs."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Literal, TypeVar, overload

from ._loop import Loop
from ._types import (
    Agent,
    Budget,
    Candidate,
    Generation,
    Level,
    Message,
    Request,
    Score,
    milliseconds,
    user,
)

T = TypeVar("T")


class Job(asyncio.Future):  # type: ignore[type-arg]
    """A generation that is running: await it for the :class:`Generation`.

    Cancelling it, or the task that awaits it, cancels the generation in the model server too.
    """

    #: Its number in the deliberation, from 1, for :attr:`Candidate.jobs`.
    id: int
    _index: int

    def __init__(self, loop: Loop, id: int, index: int) -> None:
        super().__init__(loop=loop)
        self.id = id
        self._index = index
        self._own_loop = loop

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        self._own_loop.closed(self._index)
        return super().cancel(msg)


class Session:
    """The session around a plugin: generations, time, chance, and words to watchers.

    Whatever it answers is the same again when the deliberation is replayed after a crash.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def submit(self, request: Request) -> Job:
        """Asks for a generation and returns at once; await the job for its result.

        Raises :class:`Rejected` when the request is invalid, and :class:`BudgetExhausted` when a limit
        of the deliberation is reached.
        """
        submitted = self._loop.host.submit(request)
        job = Job(self._loop, submitted.id, submitted.index)
        self._loop.opened(submitted.index, job)
        return job

    async def generate(
        self,
        agent: Agent | None,
        prompt: str | Sequence[Message],
        *,
        phase: str = "answer",
        round: int = 0,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
        logprobs: int | None = None,
        json_schema: object | None = None,
        priority: int | None = None,
        deadline: float | None = None,
    ) -> Generation:
        """Asks an agent's model (or the task's, for ``None``) and waits for the answer.

        ``prompt`` is one message of the user, or a conversation. ``deadline`` is in seconds. Raises a
        :class:`Failure`.
        """
        request = Request(
            agent="" if agent is None else agent.id,
            messages=[user(prompt)] if isinstance(prompt, str) else list(prompt),
            phase=phase,
            round=round,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            logprobs=logprobs,
            json_schema=None if json_schema is None else json.dumps(json_schema),
            priority=priority,
            deadline_ms=None if deadline is None else milliseconds(deadline),
        )
        return await self.submit(request)

    @overload
    async def gather(
        self, *coroutines: Coroutine[Any, Any, T], return_exceptions: Literal[False] = False
    ) -> list[T]: ...

    @overload
    async def gather(
        self, *coroutines: Coroutine[Any, Any, T], return_exceptions: Literal[True]
    ) -> list[T | BaseException]: ...

    async def gather(
        self, *coroutines: Coroutine[Any, Any, T], return_exceptions: bool = False
    ) -> list[Any]:
        """Runs coroutines together, and returns their results in the order of the coroutines.

        Unlike ``asyncio.gather`` it begins the next one only when the deliberation's limit on open
        generations leaves room for it, if each has one generation open at a time; and when one fails,
        the others are cancelled.
        """
        room = self.remaining().open_generations
        gate = asyncio.Semaphore(len(coroutines) + 1 if room is None else max(room, 1))

        async def within(coroutine: Coroutine[Any, Any, T]) -> T:
            async with gate:
                return await coroutine

        tasks = [asyncio.ensure_future(within(coroutine)) for coroutine in coroutines]
        try:
            return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
        except BaseException:
            for task in tasks:
                task.cancel()
            for coroutine in coroutines:
                # One that was never begun would be warned about.
                if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                    coroutine.close()
            raise

    async def as_completed(self, awaitables: Iterable[Awaitable[T]]) -> AsyncGenerator[T, None]:
        """Yields results in the order in which they come. What is left when the iterator is closed, or
        one fails, is cancelled."""
        left = [asyncio.ensure_future(one) for one in awaitables]
        order = {future: number for number, future in enumerate(left)}
        try:
            while left:
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                # `wait` answers with a set, whose order means nothing.
                done = sorted((one for one in left if one.done()), key=order.__getitem__)
                for future in done:
                    left.remove(future)
                    yield future.result()
        finally:
            for future in left:
                future.cancel()

    async def sleep(self, seconds: float) -> None:
        """Waits for this long, in the deliberation's time. Generations go on meanwhile."""
        await asyncio.sleep(seconds)

    def remaining(self) -> Budget:
        """What is left of the deliberation's limits."""
        return self._loop.host.remaining()

    def elapsed(self) -> float:
        """Seconds from the deliberation's acceptance to the last effect of this plugin."""
        return self._loop.host.elapsed_ms() / 1000

    def random(self) -> int:
        """The next number of the deliberation's own generator: 0 to 2147483647, uniform."""
        return self._loop.host.random()

    def emit(self, kind: str, value: object) -> None:
        """Tells watchers something: a short kind (letters, digits, ``-``, ``_``, ``.``; at most 64
        characters) and a value, which they see as JSON."""
        self._loop.host.emit(kind, json.dumps(value))

    def log(self, level: Level, message: str) -> None:
        """Writes to the host's log under this deliberation's id, where its operator has plugins logged."""
        self._loop.host.log(level, message)


class Context(Session):
    """The session around a strategy: that of every plugin, and the deliberation's scorer."""

    def score(self, candidates: Sequence[Candidate]) -> list[Score]:
        """Grades candidates with the scorer that the client chose: one score for each, in order.

        There must be at least one candidate. The strategy stands still meanwhile; generations that are
        open go on. Raises a :class:`Failure`: :class:`Rejected` carries the scorer's own error.
        """
        return self._loop.host.score(candidates)


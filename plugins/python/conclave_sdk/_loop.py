"""An asyncio event loop over the host's job set.

A component has one point of execution, and the host's functions wait. When no callback is ready, the
loop waits for the next completion of the one job set that all jobs are in, or for the next timer.
Everything happens in the order in which the host delivers completions, and time is the deliberation's:
a replay that delivers the same completions runs the same way.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._errors import Error, Failure
from ._host import Completed, Host
from ._types import Generation, milliseconds

T = TypeVar("T")


class Loop(asyncio.AbstractEventLoop):
    """Runs one coroutine of a plugin to its end."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._ready: deque[asyncio.Handle] = deque()
        #: By the time at which they are due and the order in which they were set.
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timers_set = 0
        #: By the index in the host's job set.
        self._open: dict[int, asyncio.Future[Generation]] = {}
        self._lost: BaseException | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine. Fails when it waits for what can never come."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(coroutine)
            while not task.done():
                if self._ready:
                    self._ready.popleft()._run()
                else:
                    self._wait()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def opened(self, index: int, future: asyncio.Future[Generation]) -> None:
        """From now on a completion of this job ends this future."""
        self._open[index] = future

    def closed(self, index: int) -> None:
        """The future does not wait any more: the job is cancelled, unless it has finished."""
        if self._open.pop(index, None) is not None:
            self.host.cancel(index)

    def _wait(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        due_ms = self._timers[0][0] if self._timers else None
        if due_ms is None and not self._open:
            raise Error("deadlock: the plugin waits, but no generation is open and no timer is set")
        left_ms = None if due_ms is None else max(due_ms - self.host.elapsed_ms(), 0)
        completed = None
        if left_ms == 0:
            pass
        elif not self._open:
            self.host.sleep(left_ms or 0)
        else:
            completed = self.host.next(left_ms)
        if completed is not None:
            self._complete(completed)
        elif due_ms is not None:
            self._fire(due_ms)

    def _complete(self, completed: Completed) -> None:
        future = self._open.pop(completed.index)
        if isinstance(completed.outcome, Failure):
            future.set_exception(completed.outcome)
        else:
            future.set_result(completed.outcome)

    def _fire(self, due_ms: int) -> None:
        while self._timers and self._timers[0][0] <= due_ms:
            handle = heapq.heappop(self._timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.host.elapsed_ms() / 1000

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._call_at_ms(self.host.elapsed_ms() + milliseconds(delay), callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        # Seconds as a fraction are a little more or less than what they stand for.
        return self._call_at_ms(milliseconds(when - 1e-7), callback, args, context)

    def _call_at_ms(
        self,
        due_ms: int,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(due_ms / 1000, callback, args, self, context)
        heapq.heappush(self._timers, (due_ms, self._timers_set, handle))
        self._timers_set += 1
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, T], **kwargs: Any) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, **kwargs)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # A task failed and nobody asked for its result: it is no reason to fail the plugin.
        from ._types import Level

        self.host.log(Level.WARN, str(context.get("message")))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are left out when they are due."""

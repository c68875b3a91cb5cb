"""Ends a running generation: by its deadline, by the engine's silence, by the host, by a drain, by another actor."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from .work import Work

Reason = Literal["deadline", "silence", "host", "drain", "superseded"]


class Watch:
    """Cancels the task in which it was made, for the first reason that occurs.

    One timer serves deadline and silence, and moves only when it fires: what is heard costs a look at a clock.
    """

    __slots__ = ("_deadline", "_heard", "_loop", "_silence", "_task", "_timer", "_work", "reason")

    def __init__(self, work: Work) -> None:
        task = asyncio.current_task()
        assert task is not None, "a watch is made in the task that it watches"
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._work = work
        now = self._loop.time()
        # The deadline is a wall clock's time, and the loop's clock has its own zero.
        self._deadline = now + work.deadline_ms / 1000 - time.time()
        self._heard = now
        self._silence = work.first_byte_timeout_ms / 1000
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due(), self._check)
        self.reason: Reason | None = None

    @property
    def silence_ms(self) -> int:
        """The silence that is too long at this time."""
        return round(self._silence * 1000)

    def heard(self) -> None:
        """The engine sent something."""
        self._heard = self._loop.time()

    def heard_first(self) -> None:
        """The engine sent the first bytes of its answer: from here on, another silence is too long."""
        self._heard = self._loop.time()
        self._silence = self._work.idle_timeout_ms / 1000
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._due(), self._check)

    def stop(self, reason: Reason) -> None:
        """Ends the generation, unless something already did."""
        if self.reason is None and self._timer is not None:
            self.reason = reason
            self.close()
            self._task.cancel()

    def close(self) -> None:
        """The generation has ended: nothing cancels the task from here on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> float:
        return min(self._heard + self._silence, self._deadline)

    def _check(self) -> None:
        now = self._loop.time()
        if now >= self._deadline:
            self.stop("deadline")
        elif now >= self._heard + self._silence:
            self.stop("silence")
        else:
            self._timer = self._loop.call_at(self._due(), self._check)

"""A scripted host, on which plugins run in native tests.

::

    from conclave_sdk.testing import Script, task

    def test_the_first_agent_is_asked():
        script = Script(lambda request: f"hello from {request.agent}")
        outcome = script.deliberate(AskFirst, task("Say hello.", ["ada"]))
        assert outcome.ranked[0].candidate.content == "hello from ada"
        assert len(script.requests) == 1
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import _run
from ._errors import BudgetExhausted, Failure
from ._host import Completed, Submitted
from ._plugin import Scorer, Strategy
from ._types import Agent, Budget, Candidate, Generation, Level, Outcome, Request, Score, Task, Usage

__all__ = ["Script", "task"]


def task(description: str, agents: Sequence[str], **changes: Any) -> Task:
    """A task with agents of these ids, the model ``model``, and no parameters."""
    return Task(description, [Agent(id) for id in agents], **changes)


class Script:
    """A host that answers from functions, with a clock of its own: nothing really waits.

    ``answer`` gives the text of a request, or raises a :class:`Failure`. ``latency_ms`` says how long
    that takes, ``grade`` is the deliberation's scorer. Generations finish after their latency, and those
    of one latency in the order in which they were submitted.
    """

    def __init__(
        self,
        answer: Callable[[Request], str],
        *,
        latency_ms: Callable[[Request], int] = lambda _: 1,
        grade: Callable[[Sequence[Candidate]], list[Score]] = lambda all: [Score(0.5) for _ in all],
        generations: int | None = None,
        open_generations: int | None = None,
    ) -> None:
        self._answer = answer
        self._latency_ms = latency_ms
        self._grade = grade
        self._limits = Budget(generations=generations, open_generations=open_generations)
        self._random = 0
        self._open: list[tuple[int, int, Generation | Failure]] = []
        #: The time on the host's clock, in milliseconds from the deliberation's acceptance.
        self.now_ms = 0
        #: The requests that were submitted, in order.
        self.requests: list[Request] = []
        #: The numbers of the jobs that were cancelled, in order.
        self.cancelled: list[int] = []
        #: Kind and value of the events that were emitted, in order.
        self.events: list[tuple[str, Any]] = []
        #: The log messages, in order.
        self.messages: list[str] = []

    def deliberate(
        self, plugin: type[Strategy], task: Task, params: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Runs a strategy; raises what it raises."""
        return _run.deliberate(plugin, _with(task, params), self)

    def evaluate(
        self,
        plugin: type[Scorer],
        task: Task,
        candidates: Sequence[Candidate],
        params: Mapping[str, Any] | None = None,
    ) -> list[Score]:
        """Runs a scorer; raises what it raises."""
        return _run.evaluate(plugin, _with(task, params), candidates, self)

    # The host.

    def submit(self, request: Request) -> Submitted:
        left = self.remaining()
        if left.generations == 0:
            raise BudgetExhausted("generations")
        if left.open_generations == 0:
            raise BudgetExhausted("open generations")
        index = len(self.requests)
        self.requests.append(request)
        latency_ms = self._latency_ms(request)
        outcome: Generation | Failure
        try:
            text = self._answer(request)
            usage = Usage(prompt_tokens=1, completion_tokens=1)
            outcome = Generation(index + 1, text, usage=usage, latency_ms=latency_ms)
        except Failure as failure:
            outcome = failure
        self._open.append((self.now_ms + latency_ms, index, outcome))
        self._open.sort(key=lambda one: one[:2])
        return Submitted(index + 1, index)

    def next(self, timeout_ms: int | None) -> Completed | None:
        at_ms, index, outcome = self._open[0]
        if timeout_ms is not None and self.now_ms + timeout_ms < at_ms:
            self.now_ms += timeout_ms
            return None
        del self._open[0]
        self.now_ms = max(self.now_ms, at_ms)
        return Completed(index, outcome)

    def cancel(self, index: int) -> None:
        self._open = [one for one in self._open if one[1] != index]
        self.cancelled.append(index + 1)

    def sleep(self, milliseconds: int) -> None:
        self.now_ms += milliseconds

    def remaining(self) -> Budget:
        def left(limit: int | None, used: int) -> int | None:
            return None if limit is None else max(limit - used, 0)

        return replace(
            self._limits,
            generations=left(self._limits.generations, len(self.requests)),
            open_generations=left(self._limits.open_generations, len(self._open)),
        )

    def elapsed_ms(self) -> int:
        return self.now_ms

    def random(self) -> int:
        self._random += 1
        return self._random - 1

    def emit(self, kind: str, payload: str) -> None:
        self.events.append((kind, json.loads(payload)))

    def log(self, level: Level, message: str) -> None:
        self.messages.append(message)

    def score(self, candidates: Sequence[Candidate]) -> list[Score]:
        return self._grade(candidates)


def _with(task: Task, params: Mapping[str, Any] | None) -> Task:
    return task if params is None else replace(task, params=json.dumps(params))

"""The two kinds of plugin."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from . import _params
from ._errors import Error
from ._types import Candidate, Outcome, Score, Task
from ._session import Context, Session


@dataclass(frozen=True)
class NoParams:
    """The parameters of a plugin that has none."""


class Plugin:
    """What both kinds of plugin have."""

    #: Lower-case words with hyphens, at most 64 characters.
    name: ClassVar[str]
    #: Semantic version, for example ``1.2.0``.
    version: ClassVar[str]
    #: What it does, in one sentence.
    summary: ClassVar[str]
    #: What a client may set: a dataclass. The host checks a client's parameters against its schema.
    params: ClassVar[type] = NoParams

    @classmethod
    def params_schema(cls) -> str:
        """The JSON Schema of the parameters, as JSON text."""
        return json.dumps(_params.schema_of(cls.params))

    @classmethod
    def params_of(cls, task: Task) -> Any:
        """The parameters of a task."""
        try:
            value = json.loads(task.params)
        except json.JSONDecodeError as error:
            raise Error(f"params: {error}") from None
        return _params.decode(cls.params, value)


class Strategy(Plugin):
    """Decides which generations to run, and answers with ranked candidates.

    Every deliberation runs in an instance of its own.
    """

    async def deliberate(self, ctx: Context, task: Task, params: Any) -> Outcome:
        """Runs one deliberation. Raise :class:`Error` with a sentence for the client."""
        raise NotImplementedError


class Scorer(Plugin):
    """Grades candidates."""

    async def evaluate(
        self, ctx: Session, task: Task, candidates: list[Candidate], params: Any
    ) -> list[Score]:
        """One score for each candidate, in order, from 0 to 1."""
        raise NotImplementedError


Deliberate = Callable[[Context, Task, Any], Awaitable[Outcome]]
Evaluate = Callable[[Session, Task, list[Candidate], Any], Awaitable[list[Score]]]


def strategy(
    *, name: str, version: str, summary: str, params: type = NoParams
) -> Callable[[Deliberate], type[Strategy]]:
    """Makes a strategy of an async function ``(ctx, task, params)``."""

    def of(function: Deliberate) -> type[Strategy]:
        members = _members(name, version, summary, params)
        members["deliberate"] = lambda self, ctx, task, params: function(ctx, task, params)
        return type(function.__name__, (Strategy,), members)

    return of


def scorer(
    *, name: str, version: str, summary: str, params: type = NoParams
) -> Callable[[Evaluate], type[Scorer]]:
    """Makes a scorer of an async function ``(ctx, task, candidates, params)``."""

    def of(function: Evaluate) -> type[Scorer]:
        members = _members(name, version, summary, params)
        members["evaluate"] = lambda self, ctx, task, candidates, params: function(
            ctx, task, candidates, params
        )
        return type(function.__name__, (Scorer,), members)

    return of


def _members(name: str, version: str, summary: str, params: type) -> dict[str, Any]:
    return {"name": name, "version": version, "summary": summary, "params": params}

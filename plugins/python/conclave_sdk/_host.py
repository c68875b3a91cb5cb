"""The host as the event loop sees it: the component's imports, or a script in a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ._errors import Failure
from ._types import Budget, Candidate, Generation, Level, Request, Score


@dataclass(frozen=True)
class Submitted:
    """A job that was accepted."""

    #: Its number in the deliberation.
    id: int
    #: Its index in the host's job set.
    index: int


@dataclass(frozen=True)
class Completed:
    """A job that has finished."""

    index: int
    outcome: Generation | Failure


class Host(Protocol):
    """What a plugin may ask of the host."""

    def submit(self, request: Request) -> Submitted:
        """Asks for a generation; raises :class:`Failure`."""

    def next(self, timeout_ms: int | None) -> Completed | None:
        """Waits for the next job of all that were submitted; ``None`` when the time passed first."""

    def cancel(self, index: int) -> None:
        """Cancels a job."""

    def sleep(self, milliseconds: int) -> None:
        """Waits where there is no job to wait for."""

    def remaining(self) -> Budget:
        """What is left of the limits."""

    def elapsed_ms(self) -> int:
        """The deliberation's time."""

    def random(self) -> int:
        """The next number of the deliberation's generator."""

    def emit(self, kind: str, payload: str) -> None:
        """Tells watchers something."""

    def log(self, level: Level, message: str) -> None:
        """Writes to the host's log."""

    def score(self, candidates: Sequence[Candidate]) -> list[Score]:
        """Asks the deliberation's scorer; raises :class:`Failure`. Strategies only."""

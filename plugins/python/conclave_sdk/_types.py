"""The records of the contract, as Python says them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: The largest integer that the contract lets through.
INTEGER_MAX = 2**31 - 1


def milliseconds(seconds: float) -> int:
    """Seconds as the contract's milliseconds, rounded up so that a wait is never too short."""
    whole = -int(-seconds * 1000 // 1)
    return min(max(whole, 0), INTEGER_MAX)


@dataclass(frozen=True)
class Agent:
    """One voice in a deliberation."""

    id: str
    role: str = ""
    model: str = "model"
    #: Jinja over ``task``, ``role``, ``agent`` and ``metadata``; ``None`` means the plugin's own prompt.
    prompt_template: str | None = None


@dataclass(frozen=True)
class Task:
    """What a client asked for."""

    description: str
    agents: Sequence[Agent]
    id: str = "task"
    role: str = ""
    #: The deliberation's model, for generations that are no agent's.
    model: str = "model"
    #: Only the keys that the operator allows to reach a prompt.
    metadata: dict[str, str] = field(default_factory=dict)
    #: A JSON object; a plugin gets it as its ``params``.
    params: str = "{}"


@dataclass(frozen=True)
class Message:
    """One message of a chat prompt; made by :func:`system`, :func:`user` and :func:`assistant`."""

    #: ``system``, ``user`` or ``assistant``.
    role: str
    content: str


def system(content: str) -> Message:
    """A message of the system."""
    return Message("system", content)


def user(content: str) -> Message:
    """A message of the user."""
    return Message("user", content)


def assistant(content: str) -> Message:
    """A message of the assistant: an earlier answer in the same conversation."""
    return Message("assistant", content)


@dataclass(frozen=True)
class Request:
    """One call to a language model. ``None`` leaves a setting to the model server."""

    #: The id of one of the task's agents; empty asks the task's own model.
    agent: str
    messages: Sequence[Message]
    #: What the generation is for, in a word that watchers see.
    phase: str = "answer"
    #: The round of the strategy, from 0.
    round: int = 0
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    #: Take it from ``ctx.random()`` when samples shall differ.
    seed: int | None = None
    logprobs: int | None = None
    #: A JSON Schema as JSON text.
    json_schema: str | None = None
    #: 0 (first) to 255 (last) among this deliberation's waiting generations.
    priority: int | None = None
    deadline_ms: int | None = None


class FinishReason(enum.Enum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORTED = "aborted"


@dataclass(frozen=True)
class Usage:
    """Tokens that a generation took."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Generation:
    """A finished generation."""

    #: The number of its job, for :attr:`Candidate.jobs`.
    job: int
    text: str
    #: What a reasoning model thought first.
    reasoning: str | None = None
    finish: FinishReason = FinishReason.STOP
    usage: Usage = Usage()
    logprobs: Sequence[float] = ()
    latency_ms: int = 0


@dataclass
class Candidate:
    """An answer that a strategy puts forward."""

    agent: str
    content: str
    reasoning: str | None = None
    #: The generations that it came from.
    jobs: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, agent: Agent, generation: Generation) -> Candidate:
        """What one generation says, as the answer of an agent."""
        return cls(agent.id, generation.text, generation.reasoning, [generation.job])


@dataclass
class Score:
    """A grade from 0 (worst) to 1 (best)."""

    value: float
    #: How sure the scorer is, 0 to 1.
    confidence: float | None = None
    #: Why, for people.
    rationale: str | None = None


@dataclass
class Ranked:
    """A candidate with its grade."""

    candidate: Candidate
    score: Score


@dataclass
class Outcome:
    """What a strategy answers with."""

    #: Best first, at least one: the first is the winner.
    ranked: list[Ranked]
    #: How the winner was chosen, in a sentence for people.
    reasoning: str
    rounds: int = 1
    stopped_early: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def by_score(
        cls,
        candidates: Iterable[Candidate],
        scores: Iterable[Score],
        reasoning: str,
        *,
        rounds: int = 1,
        stopped_early: bool = False,
        metadata: dict[str, str] | None = None,
    ) -> Outcome:
        """The candidates ranked by their scores; equal scores keep the order of the candidates."""
        ranked = [Ranked(*pair) for pair in zip(candidates, scores, strict=True)]
        ranked.sort(key=lambda one: -one.score.value)
        return cls(ranked, reasoning, rounds, stopped_early, metadata or {})


@dataclass(frozen=True)
class Budget:
    """What is left of the deliberation's limits; ``None`` is unlimited."""

    generations: int | None = None
    tokens: int | None = None
    wall_ms: int | None = None
    open_generations: int | None = None


class Level(enum.Enum):
    """The level of a log message."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

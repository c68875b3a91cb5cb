"""The imports of the component: only there this module can be imported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from componentize_py_types import Err, Ok
from wit_world.exports.describe import Descriptor as Descriptor
from wit_world.imports import context, inference, progress
from wit_world.imports import types as wit

from . import _errors as errors
from . import _types as own
from ._host import Completed, Submitted

try:
    from wit_world.imports import scoring
except ImportError:  # A scorer has none.
    scoring = None

_ROLES = {
    "system": wit.MessageRole.SYSTEM,
    "user": wit.MessageRole.USER,
    "assistant": wit.MessageRole.ASSISTANT,
}
_FINISH = {
    wit.FinishReason.STOP: own.FinishReason.STOP,
    wit.FinishReason.LENGTH: own.FinishReason.LENGTH,
    wit.FinishReason.ABORTED: own.FinishReason.ABORTED,
}


class Imports:
    """The host of a component."""

    def __init__(self) -> None:
        #: Made when the first job is submitted: not every plugin runs generations.
        self._jobs: inference.JobSet | None = None

    def submit(self, request: own.Request) -> Submitted:
        try:
            job = inference.submit(_wit_request(request))
        except Err as error:
            raise failure(error.value) from None
        if self._jobs is None:
            self._jobs = inference.JobSet()
        id = job.id()
        return Submitted(id, self._jobs.add(job))

    def next(self, timeout_ms: int | None) -> Completed | None:
        assert self._jobs is not None
        event = self._jobs.next(timeout_ms)
        if isinstance(event, inference.Event_Completed):
            done = event.value
            if isinstance(done.outcome, Ok):
                return Completed(done.index, _generation(done.job_id, done.outcome.value))
            return Completed(done.index, failure(done.outcome.value))
        if isinstance(event, inference.Event_Empty):
            raise errors.Error("the host lost a generation that is open")
        return None

    def cancel(self, index: int) -> None:
        assert self._jobs is not None
        self._jobs.cancel(index)

    def sleep(self, milliseconds: int) -> None:
        # A set without open jobs answers at once, whatever the timeout. WASI's clock waits instead: the
        # host makes that a timer of the session, which a replay repeats.
        time.sleep(milliseconds / 1000)

    def remaining(self) -> own.Budget:
        left = context.remaining()
        return own.Budget(left.generations, left.tokens, left.wall_ms, left.open_generations)

    def elapsed_ms(self) -> int:
        return context.elapsed_ms()

    def random(self) -> int:
        return context.random_u32()

    def emit(self, kind: str, payload: str) -> None:
        progress.emit(kind, payload)

    def log(self, level: own.Level, message: str) -> None:
        progress.log(progress.Level[level.name], message)

    def score(self, candidates: Sequence[own.Candidate]) -> list[own.Score]:
        try:
            scores = scoring.evaluate([_wit_candidate(one) for one in candidates])
        except Err as error:
            raise failure(error.value) from None
        return [own.Score(one.value, one.confidence, one.rationale) for one in scores]


def failure(value: Any) -> errors.Failure:
    """A failure as an exception."""
    match value:
        case wit.Failure_Cancelled():
            return errors.GenerationCancelled()
        case wit.Failure_DeadlineExceeded():
            return errors.DeadlineExceeded()
        case wit.Failure_BudgetExhausted(limit):
            return errors.BudgetExhausted(limit)
        case wit.Failure_Rejected(reason):
            return errors.Rejected(reason)
        case _:
            return errors.Unavailable(value.value)


def task(value: Any) -> own.Task:
    """The task of a call."""
    return own.Task(
        description=value.description,
        agents=[
            own.Agent(agent.id, agent.role, agent.model, agent.prompt_template)
            for agent in value.agents
        ],
        id=value.id,
        role=value.role,
        model=value.model,
        metadata=dict(value.metadata),
        params=value.params,
    )


def candidate(value: Any) -> own.Candidate:
    """A candidate that a scorer is given."""
    return own.Candidate(value.agent, value.content, value.reasoning, list(value.jobs))


def wit_outcome(outcome: own.Outcome) -> Any:
    """An outcome for the host."""
    ranked = [
        wit.Ranked(_wit_candidate(one.candidate), wit_score(one.score)) for one in outcome.ranked
    ]
    metadata = [(str(key), str(value)) for key, value in outcome.metadata.items()]
    return wit.Outcome(ranked, outcome.reasoning, outcome.rounds, outcome.stopped_early, metadata)


def wit_score(score: own.Score) -> Any:
    """A score for the host."""
    confidence = None if score.confidence is None else float(score.confidence)
    return wit.Score(float(score.value), confidence, score.rationale)


def _wit_candidate(one: own.Candidate) -> Any:
    return wit.Candidate(one.agent, one.content, one.reasoning, list(one.jobs))


def _wit_request(request: own.Request) -> Any:
    return wit.GenerationRequest(
        agent=request.agent,
        phase=request.phase,
        round=request.round,
        messages=[wit.Message(_ROLES[one.role], one.content) for one in request.messages],
        sampling=wit.Sampling(
            temperature=None if request.temperature is None else float(request.temperature),
            top_p=None if request.top_p is None else float(request.top_p),
            max_tokens=request.max_tokens,
            stop=list(request.stop),
            seed=request.seed,
            logprobs=request.logprobs,
            json_schema=request.json_schema,
        ),
        priority=request.priority,
        deadline_ms=request.deadline_ms,
    )


def _generation(job: int, value: Any) -> own.Generation:
    usage = value.usage
    return own.Generation(
        job=job,
        text=value.text,
        reasoning=value.reasoning,
        finish=_FINISH[value.finish],
        usage=own.Usage(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens),
        logprobs=list(value.logprobs),
        latency_ms=value.latency_ms,
    )

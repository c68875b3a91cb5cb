"""Write Conclave strategies and scorers in Python.

A plugin is a class, or an async function, that :func:`export` turns into a component::

    from conclave_sdk import Candidate, Outcome, export, strategy

    @strategy(name="ask-all", version="0.1.0", summary="Asks every agent once.")
    async def ask_all(ctx, task, params):
        answers = await ctx.gather(*(ctx.generate(agent, task.description) for agent in task.agents))
        candidates = [Candidate.of(agent, answer) for agent, answer in zip(task.agents, answers)]
        return Outcome.by_score(candidates, ctx.score(candidates), "the best score")

    WitWorld, Describe = export(ask_all)

``asyncio`` works as everywhere (``gather``, ``as_completed``, ``timeout``, ``TaskGroup``, queues and
locks), on an event loop whose waits are the host's: see :mod:`conclave_sdk._loop`. Tests run without a
component, on a scripted host: see :mod:`conclave_sdk.testing`.
"""

from ._errors import (
    BudgetExhausted,
    DeadlineExceeded,
    Error,
    Failure,
    GenerationCancelled,
    Rejected,
    Unavailable,
)
from ._export import export
from ._params import param
from ._plugin import NoParams, Scorer, Strategy, scorer, strategy
from ._session import Context, Job, Session
from ._types import (
    Agent,
    Budget,
    Candidate,
    FinishReason,
    Generation,
    Level,
    Message,
    Outcome,
    Ranked,
    Request,
    Score,
    Task,
    Usage,
    assistant,
    system,
    user,
)

__all__ = [
    "Agent",
    "Budget",
    "BudgetExhausted",
    "Candidate",
    "Context",
    "DeadlineExceeded",
    "Error",
    "Failure",
    "FinishReason",
    "Generation",
    "GenerationCancelled",
    "Job",
    "Level",
    "Message",
    "NoParams",
    "Outcome",
    "Ranked",
    "Rejected",
    "Request",
    "Score",
    "Scorer",
    "Session",
    "Strategy",
    "Task",
    "Unavailable",
    "Usage",
    "assistant",
    "export",
    "param",
    "scorer",
    "strategy",
    "system",
    "user",
]

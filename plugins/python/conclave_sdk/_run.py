"""A call from the host becomes one of the plugin's."""

from __future__ import annotations

from collections.abc import Sequence

from ._errors import Error
from ._host import Host
from ._loop import Loop
from ._plugin import Scorer, Strategy
from ._session import Context, Session
from ._types import Candidate, Outcome, Score, Task


def deliberate(plugin: type[Strategy], task: Task, host: Host) -> Outcome:
    """Answers a call of ``deliberate``."""
    loop = Loop(host)
    params = plugin.params_of(task)
    outcome = loop.run(plugin().deliberate(Context(loop), task, params))
    if not isinstance(outcome, Outcome):
        raise Error(f"`deliberate` returned {type(outcome).__name__}, and no Outcome")
    return outcome


def evaluate(
    plugin: type[Scorer], task: Task, candidates: Sequence[Candidate], host: Host
) -> list[Score]:
    """Answers a call of ``evaluate``."""
    loop = Loop(host)
    params = plugin.params_of(task)
    return list(loop.run(plugin().evaluate(Session(loop), task, list(candidates), params)))

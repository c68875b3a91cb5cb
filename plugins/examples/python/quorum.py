"""The strategy ``quorum``: every agent answers at the same time, and the first answer that enough of
them gave wins. Who has not answered by then is cancelled: slow agents cost nothing.
"""

import asyncio
import re
from dataclasses import dataclass

from conclave_sdk import Candidate, Context, Error, Failure, Outcome, Task, export, param, strategy


@dataclass
class Params:
    """What a client may set."""

    quorum: int | None = param(
        None, doc="Equal answers that are enough; null takes more than half.", minimum=1
    )
    patience_s: float = param(
        60.0, doc="Seconds after which those who have not answered are left out.", minimum=0
    )
    max_tokens: int | None = param(512, doc="Tokens of an answer at most.", minimum=1)


@strategy(
    name="quorum",
    version="0.1.0",
    summary="Asks all agents at once and stops when enough of them gave the same answer.",
    params=Params,
)
async def quorum(ctx: Context, task: Task, params: Params) -> Outcome:
    enough = min(params.quorum or len(task.agents) // 2 + 1, len(task.agents))
    prompt = f"{task.description}\n\nReply with the answer alone."
    votes: dict[str, list[Candidate]] = {}
    answered = 0

    async def ask(agent):
        try:
            answer = await ctx.generate(agent, prompt, max_tokens=params.max_tokens, seed=ctx.random())
        except Failure as failure:
            ctx.emit("no-answer", {"agent": agent.id, "why": str(failure)})
            return None
        return Candidate.of(agent, answer)

    answers = ctx.as_completed(ask(agent) for agent in task.agents)
    try:
        async with asyncio.timeout(params.patience_s):
            async for candidate in answers:
                if candidate is None:
                    continue
                answered += 1
                same = votes.setdefault(key(candidate.content), [])
                same.append(candidate)
                if len(same) >= enough:
                    break
    except TimeoutError:
        ctx.emit("impatient", {"answered": answered})
    await answers.aclose()

    if not votes:
        raise Error("no agent answered")
    # The most frequent answer first; of equals, the one that came first.
    groups = sorted(votes.values(), key=lambda same: -len(same))
    candidates = [
        Candidate(same[0].agent, same[0].content, same[0].reasoning, [job for one in same for job in one.jobs])
        for same in groups
    ]
    scores = ctx.score(candidates)
    if len(groups[0]) >= enough:
        reasoning = f"{len(groups[0])} of {len(task.agents)} agents gave this answer"
        ranked = Outcome.by_score(candidates[:1], scores[:1], reasoning)
        rest = Outcome.by_score(candidates[1:], scores[1:], reasoning)
        ranked.ranked += rest.ranked
    else:
        ranked = Outcome.by_score(candidates, scores, "no answer has a quorum: the best score wins")
    ranked.stopped_early = answered < len(task.agents)
    ranked.metadata = {"answered": str(answered), "quorum": str(enough)}
    return ranked


def key(text: str) -> str:
    """Answers that differ only in case, spaces and punctuation are the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


WitWorld, Describe = export(quorum)

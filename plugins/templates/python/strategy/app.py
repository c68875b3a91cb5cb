"""The strategy ``my-plugin``: every agent answers at the same time, and the scorer chooses."""

from dataclasses import dataclass

from conclave_sdk import Candidate, Context, Error, Failure, Outcome, Task, export, param, strategy


@dataclass
class Params:
    """What a client may set."""

    temperature: float | None = param(
        None, doc="0 (greedy) to 2; null leaves it to the model server.", minimum=0, maximum=2
    )
    max_tokens: int = param(512, doc="Tokens of an answer at most.", minimum=1, maximum=2147483647)


@strategy(
    name="my-plugin",
    version="0.1.0",
    summary="Every agent answers once, and the scorer chooses.",
    params=Params,
)
async def deliberate(ctx: Context, task: Task, params: Params) -> Outcome:
    answers = await ctx.gather(
        *(
            ctx.generate(
                agent,
                task.description,
                temperature=params.temperature,
                max_tokens=params.max_tokens,
            )
            for agent in task.agents
        ),
        return_exceptions=True,
    )
    candidates = []
    why = ""
    for agent, answer in zip(task.agents, answers):
        if isinstance(answer, Failure):
            why = f": {answer}"
        elif isinstance(answer, BaseException):
            raise answer
        else:
            candidates.append(Candidate.of(agent, answer))
    if not candidates:
        raise Error(f"no agent answered{why}")
    return Outcome.by_score(candidates, ctx.score(candidates), "the best score")


WitWorld, Describe = export(deliberate)

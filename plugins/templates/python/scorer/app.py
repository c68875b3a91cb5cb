"""The scorer ``my-plugin``: the task's model grades each candidate from 0 to 10."""

import re
from dataclasses import dataclass

from conclave_sdk import Candidate, Error, Score, Session, Task, export, param, scorer


@dataclass
class Params:
    """What a client may set."""

    rubric: str = param(
        "Is the answer correct and to the point?", doc="What makes an answer good.", min_length=1
    )


@scorer(
    name="my-plugin",
    version="0.1.0",
    summary="The task's model grades each candidate from 0 to 10.",
    params=Params,
)
async def evaluate(
    ctx: Session, task: Task, candidates: list[Candidate], params: Params
) -> list[Score]:
    async def grade(candidate: Candidate) -> Score:
        prompt = (
            f"Task: {task.description}\n\nAnswer: {candidate.content}\n\n{params.rubric} "
            "Grade the answer from 0 to 10. Reply with the number alone."
        )
        return score(candidate, (await ctx.generate(None, prompt, phase="grade")).text)

    return await ctx.gather(*(grade(candidate) for candidate in candidates))


def score(candidate: Candidate, text: str) -> Score:
    """The first number of a text, if it is one from 0 to 10."""
    number = re.search(r"\d+(\.\d+)?", text)
    if number is None or float(number[0]) > 10:
        raise Error(f"the answer of agent `{candidate.agent}`: the model gave no grade from 0 to 10")
    return Score(float(number[0]) / 10, rationale=f"{number[0]} of 10")


WitWorld, Describe = export(evaluate)

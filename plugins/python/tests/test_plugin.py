"""Plugins as classes and as functions, and what a client is told of exceptions."""

import asyncio
import json

import pytest

from conclave_sdk import (
    Candidate,
    Error,
    Outcome,
    Rejected,
    Score,
    Scorer,
    Strategy,
    export,
    scorer,
    strategy,
)
from conclave_sdk._errors import sentence
from conclave_sdk.testing import Script, task


class First(Strategy):
    name = "first"
    version = "1.2.3"
    summary = "Asks the first agent."

    async def deliberate(self, ctx, task, params):
        ctx.emit("asking", {"agents": len(task.agents)})
        answer = await ctx.generate(task.agents[0], task.description, json_schema={"type": "string"})
        candidates = [Candidate.of(task.agents[0], answer)]
        return Outcome.by_score(candidates, ctx.score(candidates), "it is the only one")


@scorer(name="length", version="0.1.0", summary="Likes it short.")
async def length(ctx, task, candidates, params):
    return [Score(1 / len(candidate.content)) for candidate in candidates]


def test_a_class_is_a_strategy():
    script = Script(lambda _: "hello", grade=lambda all: [Score(0.9)])
    outcome = script.deliberate(First, task("?", ["ada"]))
    assert outcome.ranked[0].candidate == Candidate("ada", "hello", None, [1])
    assert outcome.ranked[0].score.value == 0.9
    assert script.events == [("asking", {"agents": 1})]
    assert script.requests[0].json_schema == '{"type": "string"}'
    assert json.loads(First.params_schema())["properties"] == {}


def test_a_function_is_a_scorer():
    assert issubclass(length, Scorer)
    scores = Script(lambda _: "").evaluate(
        length, task("?", ["a"]), [Candidate("a", "x"), Candidate("a", "xxxx")]
    )
    assert [score.value for score in scores] == [1.0, 0.25]


def test_equal_scores_keep_the_order_of_the_candidates():
    candidates = [Candidate("a", text) for text in "xyz"]
    outcome = Outcome.by_score(candidates, [Score(0.5), Score(0.5), Score(0.9)], "by score")
    assert [one.candidate.content for one in outcome.ranked] == ["z", "x", "y"]
    with pytest.raises(ValueError):
        Outcome.by_score(candidates, [Score(1)], "a score is missing")


def test_what_is_no_outcome_is_said_so():
    @strategy(name="nothing", version="0.1.0", summary="Returns nothing.")
    async def nothing(ctx, task, params):
        pass

    with pytest.raises(Error, match="returned NoneType"):
        Script(lambda _: "").deliberate(nothing, task("?", ["a"]))


def fails(error):
    raise error


def test_sentences_stand_and_mistakes_are_told_with_their_place():
    assert sentence(Error("nobody answered")) == "nobody answered"
    assert sentence(Rejected("too long")) == "rejected: too long"
    with pytest.raises(ZeroDivisionError) as mistake:
        1 / 0
    told = sentence(mistake.value)
    assert told.startswith("ZeroDivisionError: division by zero (test_plugin.py:"), told


def test_the_first_error_of_a_group_is_told():
    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raises())

    async def raises():
        raise Error("nobody answered")

    with pytest.raises(ExceptionGroup) as error:
        asyncio.run(group())
    assert sentence(error.value) == "nobody answered"


def test_what_a_plugin_lacks_is_told_when_it_is_exported():
    class Nameless(Strategy):
        version = "0.1.0"
        summary = "It has no name."

    with pytest.raises(TypeError, match="Nameless has no text `name`"):
        export(Nameless)
    world, describe = export(First)
    assert hasattr(world, "deliberate") and not hasattr(world, "evaluate")
    assert hasattr(describe, "describe")
    world, _ = export(length)
    assert hasattr(world, "evaluate") and not hasattr(world, "deliberate")

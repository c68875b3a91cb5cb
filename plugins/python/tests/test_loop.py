"""Waiting: asyncio on the host's job set."""

import asyncio

import pytest

from conclave_sdk import (
    Candidate,
    Context,
    Error,
    GenerationCancelled,
    Outcome,
    Request,
    Score,
    Unavailable,
    strategy,
    user,
)
from conclave_sdk.testing import Script, task


def run(body, script, agents=("a", "b", "c")):
    """Runs a coroutine function in a strategy, and gives back what it returns."""
    returned = []

    @strategy(name="test", version="0.1.0", summary="A test.")
    async def deliberate(ctx: Context, task, params):
        returned.append(await body(ctx, task))
        return Outcome.by_score([Candidate("a", "x")], [Score(1)], "done")

    script.deliberate(deliberate, task("?", agents))
    return returned[0]


def test_generations_run_at_the_same_time():
    script = Script(lambda request: request.agent, latency_ms=lambda _: 10)

    async def body(ctx, task):
        return await asyncio.gather(*(ctx.generate(agent, "?") for agent in task.agents))

    assert [one.text for one in run(body, script)] == ["a", "b", "c"]
    assert script.now_ms == 10


def test_gather_keeps_the_limit_on_open_generations():
    script = Script(lambda request: request.agent, open_generations=2)

    async def body(ctx, task):
        return await ctx.gather(*(ctx.generate(agent, "?") for agent in task.agents))

    assert [one.text for one in run(body, script, "abcde")] == list("abcde")
    assert script.now_ms == 3


def test_gather_cancels_the_others_when_one_fails():
    def answer(request):
        if request.agent == "b":
            raise Unavailable("down")
        return "x"

    script = Script(answer, latency_ms=lambda request: 1 if request.agent == "b" else 9)

    async def body(ctx, task):
        with pytest.raises(Unavailable):
            await ctx.gather(*(ctx.generate(agent, "?") for agent in task.agents))
        await ctx.sleep(0)

    run(body, script)
    assert script.cancelled == [1, 3]


def test_as_completed_yields_in_the_order_of_arrival_and_cancels_what_is_left():
    latency = {"a": 30, "b": 10, "c": 20}
    script = Script(lambda request: request.agent, latency_ms=lambda request: latency[request.agent])

    async def body(ctx, task):
        texts = []
        answers = ctx.as_completed(ctx.generate(agent, "?") for agent in task.agents)
        async for answer in answers:
            texts.append(answer.text)
            if len(texts) == 2:
                await answers.aclose()
        await ctx.sleep(0)
        return texts

    assert run(body, script) == ["b", "c"]
    assert script.cancelled == [1]


def test_a_timeout_cancels_the_generation_in_the_model_server():
    script = Script(lambda _: "late", latency_ms=lambda _: 5_000)

    async def body(ctx, task):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await ctx.generate(task.agents[0], "?")
        return ctx.elapsed()

    assert run(body, script) == 2.0
    assert script.cancelled == [1]


def test_a_sleep_without_jobs_waits_on_the_hosts_clock():
    script = Script(lambda _: "x")

    async def body(ctx, task):
        await asyncio.gather(ctx.sleep(0.3), ctx.sleep(0.1), asyncio.sleep(0.2))
        return ctx.elapsed()

    assert run(body, script) == 0.3


def test_sleeps_and_generations_interleave():
    script = Script(lambda _: "x", latency_ms=lambda _: 50)
    order = []

    async def body(ctx, task):
        async def tick(seconds):
            await ctx.sleep(seconds)
            order.append(seconds)

        async def ask():
            await ctx.generate(None, "?")
            order.append("answer")

        await asyncio.gather(tick(0.1), ask(), tick(0.01))

    run(body, script)
    assert order == [0.01, "answer", 0.1]


def test_task_groups_queues_and_cancelled_tasks_work():
    script = Script(lambda request: request.agent)

    async def body(ctx, task):
        queue = asyncio.Queue()

        async def ask(agent):
            await queue.put((await ctx.generate(agent, "?")).text)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(agent)) for agent in task.agents]
            tasks[1].cancel()
        return sorted(queue.get_nowait() for _ in range(queue.qsize()))

    assert run(body, script) == ["a", "c"]


def test_a_job_that_is_cancelled_tells_whoever_awaits_it():
    script = Script(lambda _: "x")

    async def body(ctx, task):
        job = ctx.submit(Request("a", [user("?")]))
        assert job.id == 1
        assert job.cancel()
        assert not job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    run(body, script)
    assert script.cancelled == [1]


def test_a_generation_that_the_host_says_is_cancelled_is_a_failure():
    def answer(_):
        raise GenerationCancelled

    async def body(ctx, task):
        with pytest.raises(GenerationCancelled, match="the generation was cancelled"):
            await ctx.generate(None, "?")

    run(body, Script(answer))


def test_waiting_for_nothing_is_a_deadlock_and_not_a_hang():
    async def body(ctx, task):
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Error, match="deadlock"):
        run(body, Script(lambda _: "x"))


def test_two_thousand_jobs_are_waited_for():
    script = Script(lambda _: "x")

    async def body(ctx, task):
        return len(await ctx.gather(*(ctx.generate(None, "?") for _ in range(2_000))))

    assert run(body, script) == 2_000

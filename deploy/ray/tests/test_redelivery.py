"""What becomes of work whose executor died: it is killed, and never told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest
from conftest import Executors
from parts import SECONDS
from stub_engine import Call, StubEngine, held
from stub_host import CLUSTER, HOST, StubHost


async def until_one_was_killed(host: StubHost, engine: StubEngine, executors: Executors) -> asyncio.Event:
    """Queues `d-1-0`, and kills its executor while it runs; gives the gate for which the work waits."""
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    process = executors.start()
    await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    process.kill()
    await asyncio.to_thread(process.wait, SECONDS)
    return gate


async def test_work_of_a_dead_executor_is_run_again_if_the_host_says_so(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = await until_one_was_killed(host, engine, executors)
    gate.set()
    executors.start()
    result = await host.result("d-1-0")
    assert (result["outcome"], result["delivery"]) == ("answered", 2)
    assert host.asked == ["d-1-0"]
    assert len(engine.calls) == 2
    await host.until_queued(0)


async def test_work_that_the_host_drops_is_not_run_again(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    await until_one_was_killed(host, engine, executors)
    host.verdict = "drop"
    executors.start()
    await host.until_queued(0)
    assert host.asked == ["d-1-0"]
    assert len(engine.calls) == 1
    assert host.results == {}


async def test_work_waits_for_a_host_that_is_silent(host: StubHost, engine: StubEngine, executors: Executors) -> None:
    gate = await until_one_was_killed(host, engine, executors)
    gate.set()
    host.verdict = None
    # A round without an answer is no try.
    executors.start(tries_max=2)
    await host.until(lambda: len(host.asked) == 2)
    assert len(engine.calls) == 1
    host.verdict = "run"
    result = await host.result("d-1-0")
    assert (result["outcome"], result["delivery"]) == ("answered", 4)


async def test_work_whose_host_stays_silent_ends_at_its_deadline(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    process = executors.start()
    engine.models["held"] = held(asyncio.Event())
    await host.result(await host.queue("d-0-0", engine.url))
    host.verdict = None
    await host.queue("d-1-0", engine.url, "held", deadline_ms=round(time.time() * 1000) + 3000)
    await engine.called(2)
    process.kill()
    executors.start()
    result = await host.result("d-1-0")
    assert (result["outcome"], result["reason"]) == ("cancelled", "deadline")
    assert len(engine.calls) == 2


@pytest.mark.parametrize("is_older", [False, True])
async def test_work_with_a_result_is_not_run_again_unless_it_was_queued_after_it(
    host: StubHost, engine: StubEngine, executors: Executors, is_older: bool
) -> None:
    async def store() -> None:
        stored = json.dumps({"v": 1, "id": "d-1-0", "outcome": "cancelled", "reason": "host"}).encode()
        await host.js.publish(f"conclave.result.{CLUSTER}.{HOST}.d-1-0", stored)

    if is_older:
        await store()
    gate = await until_one_was_killed(host, engine, executors)
    if not is_older:
        await store()
    gate.set()
    executors.start()
    await host.until_queued(0)
    assert len(engine.calls) == (2 if is_older else 1)
    assert len(host.asked) == (1 if is_older else 0)
    assert len(host.results["d-1-0"]) == (2 if is_older else 1)


async def test_work_that_kills_its_executors_goes_to_the_dead_letters(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    async def kill(call: Call) -> None:
        os.kill(executors.started[-1].pid, signal.SIGKILL)
        await asyncio.sleep(60)

    engine.models["poison"] = kill  # type: ignore[assignment]
    await host.queue("d-1-0", engine.url, "poison")
    for _ in range(2):
        process = executors.start(tries_max=2)
        assert await asyncio.to_thread(process.wait, SECONDS) == -signal.SIGKILL
    executors.start(tries_max=2)
    dead = await host.result("d-1-0")
    assert (dead["outcome"], dead["delivery"]) == ("dead", 3)
    [letter] = host.letters
    assert letter["reason"] == dead["reason"] == "it was started 2 times and never ended"
    assert (letter["deliveries"], letter["work"]["id"]) == (3, "d-1-0")
    assert len(engine.calls) == 2
    await host.until_queued(0)


async def test_work_that_is_delivered_again_to_the_actor_that_runs_it_is_run_once(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    process = executors.start()
    await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    process.send_signal(signal.SIGSTOP)
    try:
        info = await host.js.consumer_info(f"CONCLAVE_WORK_{CLUSTER}", "pool")
        while not info.num_redelivered:
            await asyncio.sleep(0.05)
            info = await host.js.consumer_info(f"CONCLAVE_WORK_{CLUSTER}", "pool")
    finally:
        process.send_signal(signal.SIGCONT)
    # A sign of life after the second delivery.
    beats = len(host.heartbeats)
    await host.until(lambda: len(host.heartbeats) >= beats + 2)
    gate.set()
    result = await host.result("d-1-0")
    assert (result["outcome"], result["delivery"]) == ("answered", 2)
    assert len(engine.calls) == 1
    assert host.asked == []
    await host.until_queued(0)


async def test_work_that_lasts_longer_than_the_wait_for_a_sign_of_life_is_not_delivered_again(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    executors.start(actors=2, ack_wait_ms=1000)
    await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    # Two actors' signs of life of three seconds.
    beats = len(host.heartbeats)
    await host.until(lambda: len(host.heartbeats) >= beats + 6)
    gate.set()
    assert (await host.result("d-1-0"))["delivery"] == 1
    assert len(engine.calls) == 1


async def test_work_that_its_actor_still_runs_is_not_run_by_another_one(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    # Its signs of life are 20 seconds apart, and it has no room for the second delivery.
    executors.start(slots=1, ack_wait_ms=60_000)
    await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    # The stream waits for a second, as the latest executor says.
    executors.start(ack_wait_ms=1000)
    await host.until(lambda: len(host.asked) == 2)
    gate.set()
    assert (await host.result("d-1-0"))["outcome"] == "answered"
    await host.until_queued(0)
    assert len(engine.calls) == 1


async def test_an_actor_that_was_taken_for_dead_leaves_its_work_to_the_other_one(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    # It has no room for the second delivery.
    first = executors.start(slots=1)
    await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    first.send_signal(signal.SIGSTOP)
    try:
        executors.start()
        await engine.called(2)
    finally:
        first.send_signal(signal.SIGCONT)
    await asyncio.wait_for(engine.calls[0].left.wait(), SECONDS)
    gate.set()
    result = await host.result("d-1-0")
    assert (result["outcome"], result["delivery"]) == ("answered", 2)
    await host.until_queued(0)
    assert len(engine.calls) == 2

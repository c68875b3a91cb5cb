"""An executor in a process of its own, with a real NATS server and a stub engine."""

from __future__ import annotations

import asyncio
import json
import statistics
import time

import nats
import nats.js.errors
import pytest
from conftest import Executors
from parts import SECONDS
from streams import make_streams
from stub_engine import DONE, StubEngine, event, held, piece, replying, streaming, usage
from stub_host import CLUSTER, StubHost


async def test_a_generation_is_answered_with_progress_and_a_place(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    process = executors.start()
    id = await host.queue("d-1-0", engine.url)
    result = await host.result(id)
    place = result.pop("place")
    answer = result.pop("answer")
    assert place["submission_id"] == "raysubmit_test"
    assert place["actor"] == "local-0"
    assert answer["choices"][0]["message"]["content"] == "The answer is 42."
    assert answer["usage"]["completion_tokens"] == 4
    assert result.pop("queued_ms") >= 0
    assert result.pop("ran_ms") >= 0
    assert result == {"v": 1, "id": id, "outcome": "answered", "tokens": 4, "delivery": 1}
    first, *others = host.progress[id]
    assert first == {"v": 1, "started": place}
    pieces = [choice for message in others for choice in message["choices"]]
    assert "".join(choice["text"] for choice in pieces) == "The answer is 42."
    assert sum(choice["tokens"] for choice in pieces) == 4
    await host.until_queued(0)
    await host.until(lambda: any(beat["done"] == 1 for beat in host.heartbeats))
    beat = host.heartbeats[-1]
    assert (beat["queue"], beat["pid"], beat["slots"], beat["running"]) == ("pool", process.pid, 4, [])
    assert "6*7" not in executors.log()
    assert "answer is" not in executors.log()


async def test_several_choices_with_logprobs_and_reasoning_become_one_completion(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    logprobs = {"content": [{"token": "42", "logprob": -0.5, "top_logprobs": []}]}
    engine.models["both"] = streaming(
        piece(None, reasoning_content="hm"),
        piece("42", logprobs=logprobs) + piece("43", 1, "stop"),
        piece(None, 0, "stop") + usage(3) + DONE,
    )
    executors.start()
    result = await host.result(await host.queue("d-1-0", engine.url, "both", choices=2))
    one, other = result["answer"]["choices"]
    assert one["message"] == {"role": "assistant", "content": "42", "reasoning_content": "hm"}
    assert one["logprobs"] == logprobs
    assert other["message"] == {"role": "assistant", "content": "43"}
    assert result["tokens"] == 3


async def test_refusals_and_failures_are_results(host: StubHost, engine: StubEngine, executors: Executors) -> None:
    engine.models["unknown"] = replying(404, '{"error":"no such model"}', retry_after="3")
    engine.models["half"] = streaming(piece("4"))
    engine.models["strange"] = streaming(event([1]))
    engine.models["large"] = streaming(piece("x" * (1 << 20)), piece(finish="stop"), DONE)
    engine.models["silent"] = held(asyncio.Event())
    executors.start()
    refused = await host.result(await host.queue("d-1-0", engine.url, "unknown"))
    assert refused["outcome"] == "refused"
    assert (refused["status"], refused["body"]) == (404, '{"error":"no such model"}')
    assert refused["headers"] == {"retry-after": "3"}
    silent = await host.result(await host.queue("d-2-0", engine.url, "silent", idle_timeout_ms=200))
    assert (silent["outcome"], silent["kind"], silent["silence_ms"], silent["tokens"]) == ("failed", "stalled", 200, 1)
    kinds = [("half", "interrupted"), ("strange", "protocol"), ("large", "protocol")]
    for model, kind in kinds:
        id = f"d-{model}-0"
        failed = await host.result(await host.queue(id, engine.url, model, answer_bytes_max=8 << 20))
        assert (failed["outcome"], failed["kind"]) == ("failed", kind), model
    # As an answer it would not fit into a message.
    assert "max_payload" in failed["message"]
    unavailable = await host.result(await host.queue("d-9-0", "http://127.0.0.1:1"))
    assert (unavailable["outcome"], unavailable["kind"]) == ("failed", "unavailable")
    await host.until_queued(0)


async def test_tokens_are_told_at_once_and_then_in_batches(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    words = [piece(f"w{number} ") for number in range(60)]
    engine.models["steady"] = streaming(*words, piece(finish="stop") + usage(60) + DONE, pause=0.01)
    executors.start()
    id = await host.queue("d-1-0", engine.url, "steady")
    result = await host.result(id)
    _, *batches = host.progress[id]
    text = "".join(choice["text"] for batch in batches for choice in batch["choices"])
    assert text == result["answer"]["choices"][0]["message"]["content"]
    assert batches[0]["choices"][0]["tokens"] == 1
    assert 2 < len(batches) <= result["ran_ms"] / 50 + 2


async def test_a_cancel_closes_the_connection_to_the_engine_at_once(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    engine.models["held"] = held(asyncio.Event())
    executors.start()
    other = await host.queue("d-other-0", engine.url, "held")
    await engine.called(1)
    took = []
    for number in range(5):
        id = await host.queue(f"d-{number}-0", engine.url, "held")
        call = await engine.called(number + 2)
        # The first token has come, too.
        await host.until(lambda id=id: len(host.progress.get(id, ())) == 2)
        cancelled_at = time.monotonic()
        await host.cancel(id)
        await asyncio.wait_for(call.left.wait(), SECONDS)
        assert call.left_at is not None
        took.append(call.left_at - cancelled_at)
        result = await host.result(id)
        assert (result["outcome"], result["reason"], result["tokens"]) == ("cancelled", "host", 1)
    # Now and then the machine has something else to do.
    assert statistics.median(took) < 0.1
    assert engine.running == 1
    await host.cancel(other)
    await host.until_queued(0)


async def test_work_that_is_cancelled_in_the_queue_is_not_run(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    executors.start(slots=1)
    first = await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    second = await host.queue("d-2-0", engine.url)
    third = await host.queue("d-3-0", engine.url)
    await host.cancel(second)
    await host.client.flush()
    gate.set()
    assert (await host.result(first))["outcome"] == "answered"
    cancelled = await host.result(second)
    assert (cancelled["outcome"], cancelled["reason"], cancelled["ran_ms"]) == ("cancelled", "host", 0)
    assert "place" not in cancelled
    assert (await host.result(third))["outcome"] == "answered"
    assert len(engine.calls) == 2


async def test_a_deadline_ends_what_runs_and_what_waits(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    engine.models["held"] = held(asyncio.Event())
    executors.start(slots=1)
    warm_up = await host.result(await host.queue("d-0-0", engine.url))
    assert warm_up["outcome"] == "answered"
    deadline_ms = round(time.time() * 1000) + 1500
    running = await host.queue("d-1-0", engine.url, "held", deadline_ms=deadline_ms)
    waiting = await host.queue("d-2-0", engine.url, "held", deadline_ms=deadline_ms)
    for id in (running, waiting):
        result = await host.result(id)
        assert (result["outcome"], result["reason"]) == ("cancelled", "deadline")
    assert time.time() * 1000 - deadline_ms < 1000
    await asyncio.wait_for(engine.calls[1].left.wait(), SECONDS)
    assert len(engine.calls) == 2


async def test_there_is_never_more_work_than_room(host: StubHost, engine: StubEngine, executors: Executors) -> None:
    engine.models["slow"] = streaming(piece("4", finish="stop") + DONE, pause=0.02)
    executors.start(slots=3, actors=2)
    ids = [await host.queue(f"d-{number}-0", engine.url, "slow") for number in range(60)]
    for id in ids:
        assert (await host.result(id))["outcome"] == "answered"
    assert engine.running_most == 6
    assert len(engine.calls) == 60
    await host.until_queued(0)


async def test_work_beyond_the_queue_and_work_that_is_queued_are_refused(nats_url: str) -> None:
    client = await nats.connect(nats_url)
    js = client.jetstream()
    await make_streams(js, CLUSTER, queue_max=2)
    host = StubHost(client)
    await host.publish("d-1-0", b"1")
    with pytest.raises(nats.js.errors.BadRequestError, match="wrong last sequence"):
        await host.publish("d-1-0", b"1")
    await host.publish("d-2-0", b"2")
    with pytest.raises(nats.js.errors.APIError, match="maximum messages exceeded"):
        await host.publish("d-3-0", b"3")
    await client.close()


async def test_unreadable_work_goes_to_the_dead_letters(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    executors.start()
    await host.publish("d-1-0", b"{oops")
    dead = await host.result("d-1-0")
    assert (dead["outcome"], dead["reason"]) == ("dead", "it is not JSON")
    await host.publish("d-2-0", json.dumps({"v": 2, "id": "d-2-0"}).encode())
    assert "version is 2" in (await host.result("d-2-0"))["reason"]
    letters = [(letter["id"], letter["work"]) for letter in host.letters]
    assert letters == [("d-1-0", "{oops"), ("d-2-0", {"v": 2, "id": "d-2-0"})]
    await host.until_queued(0)

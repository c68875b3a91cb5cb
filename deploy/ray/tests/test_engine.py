"""Calls to the engine, without NATS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ThreadedResolver, web
from parts import free_port
from stub_engine import DONE, Call, StubEngine, begin, held, piece, replying, streaming, usage

from conclave_executor.addresses import FilteringResolver
from conclave_executor.answer import Answer
from conclave_executor.engine import Engine
from conclave_executor.watch import Watch
from conclave_executor.work import Answered, Failed, Outcome, Refused, Work


@pytest.fixture
async def client(engine: StubEngine) -> AsyncIterator[Engine]:
    # The stub's address is another one in each test.
    client = Engine({engine.url: "sk-key", "http://other:8000": "sk-other"})
    yield client
    await client.close()


def work(endpoint: str, model: str = "any", **others: Any) -> Work:
    fields: dict[str, Any] = {
        "id": "d-1-0",
        "endpoint": endpoint,
        "headers": {"x-request-id": "r"},
        "body": {"model": model, "stream": True},
        "choices": 1,
        "deadline_ms": round(time.time() * 1000) + 60_000,
        "connect_timeout_ms": 5_000,
        "first_byte_timeout_ms": 20_000,
        "idle_timeout_ms": 20_000,
        "answer_bytes_max": 1 << 20,
    }
    return Work(**(fields | others))


async def call(client: Engine, work: Work) -> Outcome:
    async def on_news() -> None:
        pass

    watch = Watch(work)
    try:
        return await client.generate(work, Answer(work.choices), watch, on_news)
    finally:
        watch.close()


async def text(client: Engine, work: Work) -> str:
    outcome = await call(client, work)
    assert isinstance(outcome, Answered), outcome
    content = outcome.answer["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


async def test_the_body_and_the_headers_are_sent_with_the_key(client: Engine, engine: StubEngine) -> None:
    assert await text(client, work(engine.url)) == "The answer is 42."
    [sent] = engine.calls
    assert sent.body == {"model": "any", "stream": True}
    assert sent.request.headers["x-request-id"] == "r"
    assert sent.request.headers["authorization"] == "Bearer sk-key"


async def test_a_key_is_sent_to_its_origin_alone(client: Engine, engine: StubEngine) -> None:
    # The same server under another origin; and its own origin with a path.
    other = engine.url.replace("127.0.0.1", "localhost")
    await text(client, work(other))
    await text(client, work(f"{engine.url}/below"))
    keys = [call.request.headers.get("authorization") for call in engine.calls]
    assert keys == [None, "Bearer sk-key"]


async def test_a_name_that_leads_to_a_forbidden_address_is_not_called(
    client: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(self: ThreadedResolver, host: str, *others: Any, **named: Any) -> list[dict[str, Any]]:
        found = {"metadata": ["169.254.169.254", "fd00:ec2::254"], "mixed": ["169.254.169.254", "127.0.0.1"]}
        return [{"host": address, "hostname": host, "port": 80} for address in found[host]]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    outcome = await call(client, work("http://metadata"))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "unavailable"
    assert "169.254.169.254, a link-local address, fd00:ec2::254, a cloud metadata address" in outcome.message
    permitted = await FilteringResolver().resolve("mixed")
    assert [found["host"] for found in permitted] == ["127.0.0.1"]


async def test_a_connection_is_used_again(client: Engine, engine: StubEngine) -> None:
    ports = set()
    for _ in range(5):
        await call(client, work(engine.url))
        ports.add(engine.calls[-1].request.transport.get_extra_info("peername"))  # type: ignore[union-attr]
        # The end of the body comes after the end of the answer.
        await asyncio.gather(*client._trailers)
    assert len(ports) == 1


async def test_an_answer_that_is_not_streamed_is_taken_whole(client: Engine, engine: StubEngine) -> None:
    body = '{"id":"x","choices":[{"index":0,"message":{"content":"42"},"finish_reason":"length"}],"usage":null}'
    engine.models["plain"] = replying(200, body, content_type="application/json")
    outcome = await call(client, work(engine.url, "plain"))
    assert isinstance(outcome, Answered)
    [choice] = outcome.answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("42", "length")


async def test_a_refusal_has_its_status_its_text_and_some_headers(client: Engine, engine: StubEngine) -> None:
    engine.models["busy"] = replying(429, "later", retry_after="7", x_other="no")
    assert await call(client, work(engine.url, "busy")) == Refused(429, {"retry-after": "7"}, "later")
    engine.models["moved"] = replying(307, "", location="http://127.0.0.1:1/")
    assert await call(client, work(engine.url, "moved")) == Refused(307, {"location": "http://127.0.0.1:1/"}, "")
    engine.models["long"] = replying(400, "é" * 100_000)
    refused = await call(client, work(engine.url, "long"))
    assert isinstance(refused, Refused)
    assert len(refused.body.encode()) <= 64 * 1024


async def test_a_refusal_does_not_quote_the_key(client: Engine, engine: StubEngine) -> None:
    engine.models["closed"] = replying(401, "Incorrect API key provided: sk-key.")
    refused = await call(client, work(engine.url, "closed"))
    assert refused == Refused(401, {}, "Incorrect API key provided: [API key].")


async def test_an_error_in_a_stream_is_a_refusal(client: Engine, engine: StubEngine) -> None:
    error = b'{"error":{"message":"the engine died","code":503}}'
    engine.models["dying"] = streaming(piece("4"), b"data: " + error + b"\n\n", DONE)
    assert await call(client, work(engine.url, "dying")) == Refused(503, {}, error.decode())


async def test_an_engine_that_is_not_there_is_unavailable(client: Engine) -> None:
    outcome = await call(client, work(f"http://127.0.0.1:{free_port()}"))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "unavailable"


async def broken_off(call: Call) -> web.StreamResponse:
    response = await begin(call)
    await response.write(piece("4"))
    assert call.request.transport is not None
    call.request.transport.close()
    return response


async def test_a_stream_that_ends_in_its_middle_is_interrupted(client: Engine, engine: StubEngine) -> None:
    engine.models["half"] = streaming(piece("4"))
    engine.models["broken"] = broken_off
    for model in ("half", "broken"):
        outcome = await call(client, work(engine.url, model))
        assert isinstance(outcome, Failed)
        assert outcome.kind == "interrupted", model


async def test_a_stream_without_an_end_mark_is_whole_if_all_choices_ended(client: Engine, engine: StubEngine) -> None:
    engine.models["markless"] = streaming(piece("4"), piece("2", finish="stop"), usage(2))
    assert await text(client, work(engine.url, "markless")) == "42"
    outcome = await call(client, work(engine.url, "markless", choices=2))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "interrupted"


@pytest.mark.parametrize(
    "events", [(b"data: {oops\n\n",), (b"<html>no</html>",), (DONE,), (piece("x" * 70_000),)], ids=range(4)
)
async def test_what_is_no_chat_completion_breaks_the_protocol(
    client: Engine, engine: StubEngine, events: tuple[bytes, ...]
) -> None:
    engine.models["strange"] = streaming(*events)
    outcome = await call(client, work(engine.url, "strange", answer_bytes_max=65_536))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "protocol"
    assert "oops" not in outcome.message


async def test_an_endless_answer_is_too_large(client: Engine, engine: StubEngine) -> None:
    engine.models["endless"] = streaming(*[b"x" * 10_000] * 1000)
    outcome = await call(client, work(engine.url, "endless", answer_bytes_max=65_536))
    assert outcome == Failed("protocol", "it is larger than the 65536 bytes of `answer_bytes_max`")


@pytest.mark.parametrize(("first_byte_ms", "idle_ms"), [(100, 20_000), (20_000, 100)])
async def test_silence_ends_the_call_and_closes_the_connection(
    client: Engine, engine: StubEngine, first_byte_ms: int, idle_ms: int
) -> None:
    async def silent(call: Call) -> web.StreamResponse:
        if first_byte_ms > 100:
            return await held(asyncio.Event())(call)
        await asyncio.sleep(60)
        raise AssertionError

    engine.models["silent"] = silent
    sent = work(engine.url, "silent", first_byte_timeout_ms=first_byte_ms, idle_timeout_ms=idle_ms)
    watch: Watch | None = None

    async def generate() -> None:
        nonlocal watch
        watch = Watch(sent)
        await client.generate(sent, Answer(1), watch, lambda: asyncio.sleep(0))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(generate())
    assert watch is not None
    assert (watch.reason, watch.silence_ms) == ("silence", 100)
    await asyncio.wait_for(engine.calls[0].left.wait(), 5)


async def test_a_kept_connection_that_died_is_retried_once_and_a_new_one_is_not(client: Engine) -> None:
    connections = 0
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the first request of each connection, and closes at the second."""
        nonlocal connections, requests
        connections += 1
        answers = connections <= 2
        while await reader.readline():
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            requests += 1
            if not answers:
                break
            answers = False
            body = piece("42", finish="stop") + DONE
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert await text(client, work(endpoint)) == "42"
    assert await text(client, work(endpoint)) == "42"
    assert (connections, requests) == (2, 3)
    # Another client has no connection that may be stale.
    fresh = Engine({})
    outcome = await call(fresh, work(endpoint))
    assert isinstance(outcome, Failed)
    assert outcome.kind == "unavailable"
    assert (connections, requests) == (3, 4)
    await fresh.close()
    server.close()

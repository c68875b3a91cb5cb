"""A model server that does what a test says, and sees when a client leaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

DONE = b"data: [DONE]\n\n"


@dataclass
class Call:
    """One request to the engine."""

    request: web.Request
    body: dict[str, Any]
    # When the client closed the connection before the answer had ended, by the monotonic clock.
    left_at: float | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class StubEngine:
    """Answers each model in the way that was set for it, and every other with `The answer is 42.`"""

    def __init__(self) -> None:
        self.url = ""
        self.models: dict[str, Handler] = {}
        self.calls: list[Call] = []
        self.running = 0
        self.running_most = 0
        self._changed = asyncio.Condition()

    async def called(self, times: int) -> Call:
        """The last call, once there were so many."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: len(self.calls) >= times), 20)
        return self.calls[times - 1]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        call = Call(request, await request.json())
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        try:
            return await self.models.get(call.body["model"], default)(call)
        except (asyncio.CancelledError, ConnectionError):
            call.left_at = time.monotonic()
            call.left.set()
            raise
        finally:
            self.running -= 1


@asynccontextmanager
async def stub_engine() -> AsyncIterator[StubEngine]:
    engine = StubEngine()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", engine.answer)
    app.router.add_post("/below/v1/chat/completions", engine.answer)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    engine.url = f"http://127.0.0.1:{port}"
    try:
        yield engine
    finally:
        await runner.cleanup()


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def piece(text: str | None = None, index: int = 0, finish: str | None = None, **others: Any) -> bytes:
    """A chunk with one choice; `others` are fields of its delta, but `logprobs` of the choice."""
    logprobs = others.pop("logprobs", None)
    delta = others if text is None else {"content": text, **others}
    return event({"choices": [{"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}]})


def usage(completion_tokens: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": completion_tokens}})


async def begin(call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(call.request)
    return response


def streaming(*events: bytes, pause: float = 0.0) -> Handler:
    """Sends these events, with a pause before each."""

    async def answer(call: Call) -> web.StreamResponse:
        response = await begin(call)
        for data in events:
            await asyncio.sleep(pause)
            await response.write(data)
        return response

    return answer


def held(gate: asyncio.Event) -> Handler:
    """One token, and the rest when the gate is opened."""

    async def answer(call: Call) -> web.StreamResponse:
        response = await begin(call)
        await response.write(piece("4"))
        await gate.wait()
        await response.write(piece("2") + piece(finish="stop") + usage(2) + DONE)
        return response

    return answer


def replying(status: int, text: str, **headers: str) -> Handler:
    """One body that is not streamed."""

    async def answer(call: Call) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=names)

    return answer


async def default(call: Call) -> web.StreamResponse:
    words = [piece(word) for word in ("The ", "answer ", "is ", "42.")]
    return await streaming(piece("", role="assistant"), *words, piece(finish="stop"), usage(4), DONE)(call)

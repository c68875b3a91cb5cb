"""The host's side of the protocol, as far as the tests of the executor need it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from streams import make_streams

HOST = "00000000000000aa"
CLUSTER = "test"


class StubHost:
    """Queues work, and collects what comes back."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream()
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.progress: dict[str, list[dict[str, Any]]] = {}
        self.letters: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.asked: list[str] = []
        # What is answered when an executor asks; nothing while it is `None`.
        self.verdict: str | None = "run"
        self._changed = asyncio.Condition()

    async def listen(self) -> None:
        for subject in ("result", "progress", "dead"):
            await self.client.subscribe(f"conclave.{subject}.{CLUSTER}.>", cb=self._on_message)
        for subject in ("heartbeat", "ask"):
            await self.client.subscribe(f"conclave.{subject}.{CLUSTER}", cb=self._on_message)

    async def queue(self, id: str, endpoint: str, model: str = "any", queue: str = "pool", **others: Any) -> str:
        """Queues work, and gives its id."""
        work = {
            "v": 1,
            "id": id,
            "endpoint": endpoint,
            "headers": {"x-request-id": f"request-{id}"},
            "body": {"model": model, "messages": [{"role": "user", "content": "6*7?"}], "stream": True},
            "choices": 1,
            "deadline_ms": round(time.time() * 1000) + 60_000,
            "connect_timeout_ms": 5_000,
            "first_byte_timeout_ms": 20_000,
            "idle_timeout_ms": 20_000,
            "answer_bytes_max": 1 << 20,
        }
        await self.publish(id, json.dumps(work | others).encode(), queue)
        return id

    async def publish(self, id: str, data: bytes, queue: str = "pool") -> None:
        """Publishes what is refused if the id is already queued."""
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        await self.js.publish(f"conclave.work.{CLUSTER}.{queue}.{HOST}.{id}", data, headers=headers)

    async def cancel(self, *ids: str) -> None:
        await self.client.publish(f"conclave.cancel.{CLUSTER}", json.dumps({"v": 1, "ids": ids}).encode())

    async def result(self, id: str) -> dict[str, Any]:
        """The result of a work, which was never sent before."""
        await self.until(lambda: id in self.results)
        [result] = self.results[id]
        return result

    async def until(self, condition: Any, seconds: float = 30.0) -> None:
        """Waits for something to come that makes the condition true."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), seconds)

    async def queued(self) -> int:
        """How much work has not been acknowledged."""
        info = await self.js.stream_info(f"CONCLAVE_WORK_{CLUSTER}")
        return info.state.messages

    async def until_queued(self, number: int) -> None:
        end = time.monotonic() + 20
        while await self.queued() != number:
            assert time.monotonic() < end, f"there is not {number} work in the queue"
            await asyncio.sleep(0.01)

    async def _on_message(self, msg: Msg) -> None:
        message = json.loads(msg.data)
        assert message["v"] == 1
        id = msg.subject.rpartition(".")[2]
        match msg.subject.split(".")[1]:
            case "result":
                self.results.setdefault(id, []).append(message)
            case "progress":
                self.progress.setdefault(id, []).append(message)
            case "dead":
                self.letters.append(message)
            case "heartbeat":
                self.heartbeats.append(message)
            case "ask":
                self.asked.append(message["id"])
                if self.verdict is not None:
                    await msg.respond(json.dumps({"v": 1, "verdict": self.verdict}).encode())
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def stub_host(url: str, queue_max: int = 1000, **options: Any) -> AsyncIterator[StubHost]:
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=1, **options)
    host = StubHost(client)
    await make_streams(host.js, CLUSTER, queue_max)
    await host.listen()
    try:
        yield host
    finally:
        await client.close()

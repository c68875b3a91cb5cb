"""Collects the responses of a task's agents until there are as many as the messages say."""

import asyncio
import json
import sys
from datetime import datetime

import nats


async def main(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    responses = await stream.pull_subscribe("agent.response.>", durable="collector")
    seen: set[str] = set()
    counts = {"completed": 0, "failed": 0}
    while True:
        (message,) = await responses.fetch(1, timeout=60)
        envelope = json.loads(message.data)
        await message.ack()
        if envelope["idempotency_key"] in seen:
            continue
        seen.add(envelope["idempotency_key"])
        payload = envelope["payload"]
        datetime.fromisoformat(payload["timestamp"])
        assert payload["role"] == "DEV", payload
        counts[payload["status"]] += 1
        if sum(counts.values()) == payload["num_agents"]:
            break
    print(
        f"{payload['task_id']}: {counts['completed']} completed, {counts['failed']} failed "
        f"of {payload['num_agents']}"
    )
    await client.close()


asyncio.run(main(sys.argv[1]))

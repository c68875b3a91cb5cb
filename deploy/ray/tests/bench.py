"""Measures an executor against a stub model server: overhead of one generation, and generations a second.

`python bench.py ENGINE_URL [--ray] [--actors N] [--slots N] [--count N]`; ENGINE_URL is a model server that answers
at once, as `stub-model-server` of the workspace does.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import nats
from nats.aio.msg import Msg
from parts import executor_process, nats_server, settings
from streams import make_streams

HOST = "00000000000000aa"


async def measure(arguments: argparse.Namespace) -> None:
    body = {
        "model": arguments.model,
        "messages": [{"role": "user", "content": "What is 6 times 7?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    print("bare client ms (p50, p95):", await bare(arguments.engine, body))
    with tempfile.TemporaryDirectory() as directory, nats_server(Path(directory)) as url:
        client = await nats.connect(url)
        js = client.jetstream()
        await make_streams(js, "bench")
        waits: dict[str, asyncio.Future[None]] = {}
        failed = 0

        async def on_result(msg: Msg) -> None:
            nonlocal failed
            result = json.loads(msg.data)
            failed += result["outcome"] != "answered"
            if (wait := waits.pop(result["id"], None)) is not None:
                wait.set_result(None)

        await client.subscribe("conclave.result.bench.>", cb=on_result)
        options = {"actors": arguments.actors, "slots": arguments.slots, "ray": arguments.ray, "actor_cpus": 0.5}
        ready = asyncio.Event()

        async def on_heartbeat(msg: Msg) -> None:
            ready.set()

        await client.subscribe("conclave.heartbeat.bench", cb=on_heartbeat)
        log = Path(directory) / "log"
        with executor_process(settings(url, cluster="bench", **options), log, dict(os.environ)) as process:
            await asyncio.wait_for(ready.wait(), 60)
            await asyncio.sleep(1)

            async def generate(number: str) -> None:
                id = f"d-{number}-0"
                wait = waits[id] = asyncio.get_running_loop().create_future()
                work = {
                    "v": 1,
                    "id": id,
                    "endpoint": arguments.engine,
                    "headers": {"x-request-id": id},
                    "body": body,
                    "choices": 1,
                    "deadline_ms": round(time.time() * 1000) + 600_000,
                    "connect_timeout_ms": 5000,
                    "first_byte_timeout_ms": 300_000,
                    "idle_timeout_ms": 60_000,
                    "answer_bytes_max": 8 << 20,
                }
                subject = f"conclave.work.bench.pool.{HOST}.{id}"
                headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
                await client.request(subject, json.dumps(work).encode(), timeout=10, headers=headers)
                await wait

            times = []
            for number in range(300):
                began = time.perf_counter()
                await generate(f"a{number}")
                times.append(time.perf_counter() - began)
            print("executor ms (p50, p95):", quantiles(times[50:]))
            cpu = cpu_seconds(process)
            began = time.perf_counter()
            places = asyncio.Semaphore(arguments.at_once)

            async def one(number: int) -> None:
                async with places:
                    await generate(f"b{number}")

            await asyncio.gather(*(one(number) for number in range(arguments.count)))
            seconds = time.perf_counter() - began
            rate = arguments.count / seconds
            used = (cpu_seconds(process) - cpu) / arguments.count * 1000
            print(f"{rate:.0f} generations a second, {used:.2f} ms of CPU each in the executor, {failed} failed")
        if arguments.log:
            print(log.read_text())
        await client.close()


async def bare(engine: str, body: object) -> tuple[float, float]:
    times = []
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            began = time.perf_counter()
            async with session.post(f"{engine}/v1/chat/completions", json=body) as response:
                await response.read()
            times.append(time.perf_counter() - began)
    return quantiles(times[50:])


def quantiles(times: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times, n=20)
    return round(cuts[9] * 1000, 2), round(cuts[18] * 1000, 2)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """What the process itself has used; 0 where /proc does not tell."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("--model", default="any")
    parser.add_argument("--ray", action="store_true", help="on the Ray of RAY_ADDRESS")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=128)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--log", action="store_true")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()

"""The executor on a real Ray: one head for all of these tests, stopped by its pid."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Executors
from parts import SECONDS, ray_head
from stub_engine import StubEngine, held
from stub_host import CLUSTER, StubHost

# An interpreter for each actor starts on a busy machine.
PLACED_SECONDS = 60.0


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    # Ray's sockets lie below it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray-") as directory, ray_head(Path(directory)) as address:
        yield address


@pytest.fixture
def on_ray(executors: Executors, ray_address: str) -> Executors:
    executors.environment |= {"RAY_ADDRESS": ray_address, "RAY_AUTH_MODE": "disabled"}
    return executors


def options(**others: Any) -> dict[str, Any]:
    return {"ray": True, "actor_cpus": 0.5, "ack_wait_ms": 1500, **others}


async def placed(host: StubHost, actors: int) -> set[int]:
    """The processes of the actors, once there are so many."""
    await host.until(lambda: len({beat["pid"] for beat in host.heartbeats}) == actors, PLACED_SECONDS)
    return {beat["pid"] for beat in host.heartbeats}


async def test_actors_share_the_work_say_where_they_are_and_drain(
    host: StubHost, engine: StubEngine, on_ray: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    process = on_ray.start(**options(actors=2, slots=2))
    await placed(host, 2)
    ids = [await host.queue(f"d-{number}-0", engine.url, "held") for number in range(6)]
    await engine.called(4)
    gate.set()
    places = [(await host.result(id))["place"] for id in ids]
    beats = {(beat["actor"], beat["node"]) for beat in host.heartbeats}
    assert {(place["actor"], place["node"]) for place in places} == beats
    assert len(beats) == 2
    assert {beat["node_ip"] for beat in host.heartbeats} == {"127.0.0.2"}
    assert engine.running_most == 4

    gate.clear()
    put_back = await host.queue("d-9-0", engine.url, "held")
    await engine.called(7)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, SECONDS) == 0
    assert put_back not in host.results
    assert engine.running == 0
    await host.until_queued(1)


async def test_an_actor_that_is_killed_is_made_anew_and_its_work_is_run_again(
    host: StubHost, engine: StubEngine, on_ray: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    on_ray.start(**options())
    [pid] = await placed(host, 1)
    await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    os.kill(pid, signal.SIGKILL)
    gate.set()
    await placed(host, 2)
    result = await host.result("d-1-0")
    assert (result["outcome"], result["delivery"]) == ("answered", 2)
    assert host.asked == ["d-1-0"]


async def test_a_driver_that_is_killed_takes_its_actors_along_and_another_goes_on(
    host: StubHost, engine: StubEngine, on_ray: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    driver = on_ray.start(**options())
    await placed(host, 1)
    await host.queue("d-1-0", engine.url, "held")
    first = await engine.called(1)
    driver.kill()
    await asyncio.wait_for(first.left.wait(), SECONDS)
    on_ray.start(**options())
    await engine.called(2)
    gate.set()
    result = await host.result("d-1-0")
    assert (result["outcome"], result["delivery"]) == ("answered", 2)


async def test_a_wave_is_a_job_that_succeeds(host: StubHost, engine: StubEngine, on_ray: Executors) -> None:
    ids = [await host.queue(f"d-{number}-0", engine.url, queue="wave-d-1") for number in range(3)]
    process = on_ray.start(**options(queue="wave-d-1", count=3))
    for id in ids:
        assert (await host.result(id))["outcome"] == "answered"
    assert await asyncio.to_thread(process.wait, SECONDS) == 0
    assert await host.js.consumers_info(f"CONCLAVE_WORK_{CLUSTER}") == []

"""How an executor starts, loses NATS, drains and ends, with a real NATS server and a stub engine."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from conftest import Executors
from parts import SECONDS, free_port, nats_server, settings, start_nats, stop, until
from stub_engine import StubEngine, held
from stub_host import CLUSTER, HOST, StubHost, stub_host

from conclave_executor import work_queue
from conclave_executor.broker import Broker
from conclave_executor.settings import parse


async def test_an_executor_waits_for_the_streams(nats_url: str, engine: StubEngine, executors: Executors) -> None:
    executors.start()
    await asyncio.to_thread(until, lambda: "waits for the stream CONCLAVE_WORK_test" in executors.log())
    async with stub_host(nats_url) as host:
        assert (await host.result(await host.queue("d-1-0", engine.url)))["outcome"] == "answered"


async def test_an_executor_that_nats_does_not_let_in_says_so(tmp_path: Path, executors: Executors) -> None:
    (tmp_path / "closed").mkdir()
    with nats_server(tmp_path / "closed", "--user", "u", "--pass", "right") as url:
        wrong = {"user": "u", "password": "wrong-secret"}
        process = executors.start(nats_url=url, nats_credentials=wrong)
        assert await asyncio.to_thread(process.wait, SECONDS) == 1
    assert "cannot work: NATS does not let it in" in executors.log()
    assert "secret" not in executors.log()


async def test_sigterm_ends_an_executor_that_has_not_found_nats(executors: Executors) -> None:
    process = executors.start(nats_url=f"nats://127.0.0.1:{free_port()}")
    await asyncio.to_thread(until, lambda: "connects to NATS" in executors.log())
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 5) == 0


async def test_results_wait_while_nats_is_away(tmp_path: Path, engine: StubEngine, executors: Executors) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    (tmp_path / "away").mkdir()
    port = free_port()
    server = start_nats(tmp_path / "away", port)
    try:
        async with stub_host(f"nats://127.0.0.1:{port}") as host:
            executors.start(nats_url=f"nats://127.0.0.1:{port}", ack_wait_ms=20_000)
            ids = [await host.queue(f"d-{number}-0", engine.url, "held") for number in range(2)]
            await engine.called(2)
            await asyncio.to_thread(stop, server)
            gate.set()
            await asyncio.to_thread(until, lambda: "has lost NATS" in executors.log() and engine.running == 0)
            server = await asyncio.to_thread(start_nats, tmp_path / "away", port)
            # The host's own subscription may be back later than the results: they are in the stream.
            await host.until_queued(0)
            for id in ids:
                stored = await host.js.get_last_msg(
                    f"CONCLAVE_RESULTS_{CLUSTER}", f"conclave.result.{CLUSTER}.{HOST}.{id}"
                )
                assert json.loads(stored.data or b"")["outcome"] == "answered"
            assert len(engine.calls) == 2

            # Without work, too: what was asked for before is void, and is asked for anew.
            await asyncio.to_thread(stop, server)
            await asyncio.to_thread(until, lambda: executors.log().count("local-0 has lost NATS") == 2)
            server = await asyncio.to_thread(start_nats, tmp_path / "away", port)
            await asyncio.to_thread(until, lambda: executors.log().count("local-0 is connected to NATS again") == 2)
            await host.until(lambda: host.client.is_connected)
            await host.queue("d-9-0", engine.url)
            await asyncio.wait_for(engine.called(3), 5)
    finally:
        stop(server)


async def test_a_consumer_that_was_removed_is_made_anew(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    executors.start()
    assert (await host.result(await host.queue("d-1-0", engine.url)))["outcome"] == "answered"
    await host.js.delete_consumer(f"CONCLAVE_WORK_{CLUSTER}", "pool")
    assert (await host.result(await host.queue("d-2-0", engine.url)))["outcome"] == "answered"


async def test_sigterm_lets_work_end_within_the_time_for_it(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    process = executors.start(drain_ms=20_000)
    running = await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(until, lambda: "takes no more work" in executors.log())
    waiting = await host.queue("d-2-0", engine.url)
    gate.set()
    assert (await host.result(running))["outcome"] == "answered"
    assert await asyncio.to_thread(process.wait, SECONDS) == 0
    assert waiting not in host.results
    assert await host.queued() == 1


async def test_sigterm_puts_work_back_that_does_not_end(
    host: StubHost, engine: StubEngine, executors: Executors
) -> None:
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    process = executors.start(drain_ms=100, ack_wait_ms=60_000)
    id = await host.queue("d-1-0", engine.url, "held")
    await engine.called(1)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, SECONDS) == 0
    assert id not in host.results
    assert engine.running == 0
    # The next one has it at once, though nobody was to wait less than a minute for a dead worker, and that start is
    # the first that counts.
    executors.start(ack_wait_ms=60_000, tries_max=1)
    await engine.called(2)
    gate.set()
    result = await host.result(id)
    assert (result["outcome"], result["delivery"]) == ("answered", 2)


async def test_a_wave_ends_with_its_last_work(host: StubHost, engine: StubEngine, executors: Executors) -> None:
    ids = [await host.queue(f"d-{number}-0", engine.url, queue="wave-d-1") for number in range(10)]
    await host.queue("d-other-0", engine.url)
    process = executors.start(queue="wave-d-1", count=10)
    assert await asyncio.to_thread(process.wait, SECONDS) == 0
    assert sorted(host.results) == sorted(ids)
    assert await host.queued() == 1
    assert await host.js.consumers_info(f"CONCLAVE_WORK_{CLUSTER}") == []


async def test_a_wave_ends_too_when_the_host_removed_some_of_its_work(
    host: StubHost, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_queue, "_EMPTY_SECONDS", 0.05)
    values = parse(json.dumps(settings(nats_url, queue="wave-1", count=5)))
    broker = Broker(values, "test")
    await broker.connect(SECONDS)
    await work_queue.prepare(broker, values)
    await host.publish("d-1-0", b"1", queue="wave-1")
    wave = work_queue.Wave(broker, values, 5)
    assert not await wave.has_ended()
    await asyncio.sleep(0.1)
    assert not await wave.has_ended()
    await host.js.purge_stream(f"CONCLAVE_WORK_{CLUSTER}", subject=f"conclave.work.{CLUSTER}.wave-1.{HOST}.d-1-0")
    assert not await wave.has_ended()
    await asyncio.sleep(0.1)
    assert await wave.has_ended()
    await broker.close()

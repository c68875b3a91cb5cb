"""How an executor starts, loses NATS, drains and ends, with a real NATS server and a stub engine."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
from pathlib import Path

import pytest
from conftest import Executors
from parts import PACKAGE, SECONDS, free_port, nats_server, self_signed, settings, start_nats, stop, until
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


async def test_an_executor_needs_no_more_permissions_than_are_documented(
    tmp_path: Path, engine: StubEngine, executors: Executors
) -> None:
    guide = (PACKAGE.parent / "clusters.md").read_text()
    [block] = re.findall(r"```\n(authorization \{.*?)```", guide, re.DOTALL)
    block = block.replace("a100", CLUSTER).replace("$CONCLAVE_PASSWORD", "host").replace("$A100_PASSWORD", "executor")
    (tmp_path / "strict").mkdir()
    (tmp_path / "nats.conf").write_text(block)
    gate = asyncio.Event()
    engine.models["held"] = held(gate)
    with nats_server(tmp_path / "strict", "--config", str(tmp_path / "nats.conf")) as url:
        async with stub_host(url, user="conclave", password="host") as host:
            own = {"nats_url": url, "nats_credentials": {"user": f"executor-{CLUSTER}", "password": "executor"}}
            # It runs work, and is asked whether it does; another one runs it after its death, and looks for a result.
            first = executors.start(slots=1, ack_wait_ms=60_000, **own)
            await host.queue("d-1-0", engine.url, "held")
            await engine.called(1)
            executors.start(**own)
            await host.until(lambda: len(host.asked) == 2)
            assert len(engine.calls) == 1
            first.kill()
            gate.set()
            assert (await host.result("d-1-0"))["outcome"] == "answered"
            assert len(engine.calls) == 2
            # A wave, a cancel, and a dead letter.
            await host.queue("d-2-0", engine.url, queue="wave-1")
            executors.start(queue="wave-1", count=1, **own)
            await host.result("d-2-0")
            assert await asyncio.to_thread(executors.started[-1].wait, SECONDS) == 0
            await host.publish("d-3-0", b"no JSON")
            assert (await host.result("d-3-0"))["outcome"] == "dead"
            gate.clear()
            await host.queue("d-4-0", engine.url, "held")
            await engine.called(4)
            await host.cancel("d-4-0")
            assert (await host.result("d-4-0"))["outcome"] == "cancelled"
            await host.until_queued(0)
    assert "Permissions Violation" not in (tmp_path / "strict" / "nats.log").read_text()


async def test_an_executor_trusts_nats_by_the_certificates_that_it_is_given(
    tmp_path: Path, engine: StubEngine, executors: Executors
) -> None:
    certificate, key = self_signed("127.0.0.1")
    (tmp_path / "tls").mkdir()
    (tmp_path / "cert.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    options = ("--tls", "--tlscert", str(tmp_path / "cert.pem"), "--tlskey", str(tmp_path / "key.pem"))
    with nats_server(tmp_path / "tls", *options) as url:
        trusting = ssl.create_default_context(cadata=certificate)
        async with stub_host(url, tls=trusting) as host:
            executors.start(nats_url=url, nats_tls_ca=certificate)
            assert (await host.result(await host.queue("d-1-0", engine.url)))["outcome"] == "answered"
    process = executors.start(nats_tls_ca="no certificate")
    assert await asyncio.to_thread(process.wait, SECONDS) == 1
    assert "cannot work: `nats_tls_ca` holds no certificates" in executors.log()


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

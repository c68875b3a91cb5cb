"""What the tests share: each has its own NATS server, host and engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import PACKAGE, nats_server, settings, stop
from stub_engine import StubEngine, stub_engine
from stub_host import StubHost, stub_host


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "nats").mkdir()
    with nats_server(tmp_path / "nats") as url:
        yield url


@pytest.fixture
async def host(nats_url: str) -> AsyncIterator[StubHost]:
    async with stub_host(nats_url) as host:
        yield host


@pytest.fixture
async def engine() -> AsyncIterator[StubEngine]:
    async with stub_engine() as engine:
        yield engine


class Executors:
    """Starts executors; those that still run at the end of a test are stopped."""

    def __init__(self, nats_url: str, log: Path) -> None:
        self._nats_url = nats_url
        self._log = log
        self.environment = dict(os.environ)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, **others: Any) -> subprocess.Popen[bytes]:
        """An executor, as a process of its own, with the tests' settings but for some."""
        values = json.dumps(settings(**{"nats_url": self._nats_url} | others))
        environment = self.environment | {"CONCLAVE_EXECUTOR": values, "PYTHONPATH": str(PACKAGE)}
        with self._log.open("ab") as out:
            command = [sys.executable, "-m", "conclave_executor"]
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=PACKAGE)
        self.started.append(process)
        return process

    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def executors(nats_url: str, tmp_path: Path) -> Iterator[Executors]:
    executors = Executors(nats_url, tmp_path / "executor.log")
    yield executors
    for process in executors.started:
        stop(process)
    # Shown by pytest if the test failed.
    print(executors.log())

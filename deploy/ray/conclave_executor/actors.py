"""Workers as Ray actors: Ray places them, restarts them, and says where they are. No work passes through Ray."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import ray
import ray.util

from .console import say
from .errors import CannotWork
from .settings import API_KEYS_VARIABLE, Settings, parse_api_keys
from .work import Place
from .worker import Worker

# `work`, perhaps twice, `ready` and `drain`.
_CALLS_MAX = 8
# After this time it is said that an actor was not placed.
_PLACED_SECONDS = 20.0


class ConclaveWorker:
    """What runs in the actor's process; Ray's dashboard shows it by this name."""

    def __init__(self, settings: Settings) -> None:
        context = ray.get_runtime_context()
        node_ip = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        place = Place(settings.submission_id, str(context.get_actor_id()), context.get_node_id())
        api_keys = parse_api_keys(os.environ.get(API_KEYS_VARIABLE, ""))
        self._worker = Worker(settings, place, str(node_ip), api_keys)
        self._work: asyncio.Future[None] | None = None

    async def ready(self) -> None:
        """Answers as soon as the actor was placed."""

    async def work(self) -> None:
        # Ray calls again when it has lost its connection to an actor that lives.
        if self._work is None:
            self._work = asyncio.ensure_future(self._worker.run())
        await asyncio.shield(self._work)

    async def drain(self) -> None:
        self._worker.drain()


class RayActor:
    """A handle of an actor."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self._name = name

    async def work(self) -> None:
        # Ray calls it again, on a new process, when the actor's process or node has died.
        work = asyncio.wrap_future(self._handle.work.remote().future())
        ready = asyncio.wrap_future(self._handle.ready.remote().future())
        await asyncio.wait((work, ready), timeout=_PLACED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and not ready.done():
            say(f"{self._name} waits for Ray to place it: the cluster has no room for it now")
        await work

    async def drain(self) -> None:
        # An actor that was not placed yet would answer when it is: nobody waits for that.
        self._handle.drain.remote()


class RayActors:
    """Places workers on the cluster; to be made where this process may be a Ray driver."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # The address is in the environment of a job; without "auto", a Ray of its own would be started.
        try:
            ray.init(address="auto", log_to_driver=True, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise CannotWork(f"there is no Ray cluster here ({error}); `--local` works without one") from None
        self._class = ray.remote(ConclaveWorker).options(
            num_cpus=settings.actor_cpus,
            num_gpus=settings.actor_gpus,
            resources=dict(settings.actor_resources),
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_CALLS_MAX,
            scheduling_strategy="SPREAD",
        )

    def make(self, number: int) -> RayActor:
        return RayActor(self._class.remote(self._settings), f"worker {number}")

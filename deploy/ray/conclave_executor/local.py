"""Workers in this very process: for those who have no Ray."""

from __future__ import annotations

import os
import socket

from .settings import API_KEYS_VARIABLE, Settings, parse_api_keys
from .work import Place
from .worker import Worker


class LocalActor:
    """A worker among the tasks of this process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def work(self) -> None:
        await self._worker.run()

    async def drain(self) -> None:
        self._worker.drain()


class LocalActors:
    """Makes workers named `local-0`, `local-1` and so on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def make(self, number: int) -> LocalActor:
        place = Place(self._settings.submission_id, f"local-{number}", socket.gethostname())
        api_keys = parse_api_keys(os.environ.get(API_KEYS_VARIABLE, ""))
        return LocalActor(Worker(self._settings, place, "127.0.0.1", api_keys))

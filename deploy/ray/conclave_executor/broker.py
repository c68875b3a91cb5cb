"""The connection to NATS, and the names of what is there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from . import codec
from .console import say
from .errors import CannotWork
from .settings import Settings

# A connection that is half open is noticed after two of them.
_PING_SECONDS = 5
_RECONNECT_SECONDS = 0.25
_PUBLISH_SECONDS = 5.0
# How often a stream that refuses is asked again, a second apart: then the work is left to redelivery.
_PUBLISH_TRIES = 30


@dataclass(frozen=True)
class Names:
    """Streams, subjects and buckets of one cluster."""

    cluster: str

    @property
    def work_stream(self) -> str:
        return f"CONCLAVE_WORK_{self.cluster}"

    @property
    def results_stream(self) -> str:
        return f"CONCLAVE_RESULTS_{self.cluster}"

    @property
    def dead_stream(self) -> str:
        return f"CONCLAVE_DEAD_{self.cluster}"

    @property
    def tries_bucket(self) -> str:
        return f"CONCLAVE_TRIES_{self.cluster}"

    def queue(self, queue: str) -> str:
        return f"conclave.work.{self.cluster}.{queue}.>"

    def result(self, key: str) -> str:
        """Of the work with the key `H.W`, as the following."""
        return f"conclave.result.{self.cluster}.{key}"

    def progress(self, key: str) -> str:
        return f"conclave.progress.{self.cluster}.{key}"

    def dead(self, key: str) -> str:
        return f"conclave.dead.{self.cluster}.{key}"

    @property
    def inbox(self) -> str:
        """What the subjects of answers begin with: executors need not hear what others are answered."""
        return f"_INBOX.conclave.{self.cluster}"

    @property
    def cancel(self) -> str:
        return f"conclave.cancel.{self.cluster}"

    @property
    def ask(self) -> str:
        return f"conclave.ask.{self.cluster}"

    @property
    def heartbeat(self) -> str:
        return f"conclave.heartbeat.{self.cluster}"


class Broker:
    """A connection to NATS that is made again for ever once it was there."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Raises `CannotWork` where servers shall be trusted by what are no certificates."""
        self._settings = settings
        self._trust = None if settings.nats_tls_ca is None else _trust(settings.nats_tls_ca)
        self._name = name
        self.names = Names(settings.cluster)
        self.client = Client()
        # Set while there is a connection.
        self.connected = asyncio.Event()
        # Set when the server has sent this client away for good.
        self.closed = asyncio.Event()
        # Counts connections: what was asked for on an earlier one is void.
        self.connections = 0
        # Set when a server does not let this client in: another try would not help.
        self._refused = asyncio.Event()
        self._last_error: Exception | None = None

    async def connect(self, seconds: float) -> None:
        """Connects within so many seconds, or raises `CannotWork`."""
        credentials = self._settings.nats_credentials
        options: dict[str, Any] = {}
        if credentials is not None:
            pairs = {"user": credentials.user, "password": credentials.password, "token": credentials.token}
            options.update({key: value for key, value in pairs.items() if value is not None})
        if self._trust is not None:
            options["tls"] = self._trust
        connecting = asyncio.ensure_future(
            self.client.connect(
                self._settings.nats_urls,
                name=self._name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type]
                ping_interval=_PING_SECONDS,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_connected,
                closed_cb=self._on_closed,
                error_cb=self._on_error,
                # All subjects are made of parts that were checked.
                skip_subject_validation=True,
                inbox_prefix=self.names.inbox,
                **options,
            )
        )
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait((connecting, refused), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._refused.is_set():
                raise CannotWork("NATS does not let it in: check `nats_credentials`")
            if not connecting.done():
                raise CannotWork(f"NATS cannot be reached: {self._why()}")
            connecting.result()
        except (nats.errors.Error, OSError, ValueError) as error:
            raise CannotWork(f"NATS cannot be used: {type(error).__name__}") from None
        finally:
            connecting.cancel()
            refused.cancel()
        await self._on_connected()

    async def close(self) -> None:
        """Sends what is pending, and closes."""
        self.closed.set()
        if self.client.is_connected:
            with contextlib.suppress(nats.errors.Error):
                await self.client.flush(1)
        await self.client.close()

    async def send(self, subject: str, payload: bytes = b"") -> bool:
        """Sends what may be lost; whether it was sent to a server."""
        if not self.client.is_connected:
            return False
        try:
            await self.client.publish(subject, payload)
        except (nats.errors.Error, OSError):
            return False
        return True

    async def store(self, subject: str, payload: bytes) -> bool:
        """Publishes to a stream until the stream has acknowledged it, and waits for NATS while it is away.

        `False` if it went away for good, or the stream does not take it.
        """
        problem = ""
        for _ in range(_PUBLISH_TRIES):
            if not await self._is_connected():
                return False
            try:
                reply = await self.client.request(subject, payload, timeout=_PUBLISH_SECONDS)
                answer = codec.decode(reply.data)
                if "error" not in answer:
                    return True
                problem = str(answer["error"].get("description"))
            except (nats.errors.Error, OSError, ValueError) as error:
                problem = type(error).__name__
            if self.client.is_connected:
                await asyncio.sleep(1)
        say(f"a message to {subject} was not stored: {problem}")
        return False

    async def _is_connected(self) -> bool:
        """Waits for a connection; `False` if there will be none."""
        if self.client.is_connected:
            return True
        waits = [asyncio.ensure_future(self.connected.wait()), asyncio.ensure_future(self.closed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self.closed.is_set()

    def _why(self) -> str:
        return "no server answered" if self._last_error is None else type(self._last_error).__name__

    async def _on_connected(self) -> None:
        self.connections += 1
        if self.connections > 1:
            say(f"{self._name} is connected to NATS again")
        self.connected.set()

    async def _on_disconnected(self) -> None:
        if not self.closed.is_set() and self.connected.is_set():
            say(f"{self._name} has lost NATS")
        self.connected.clear()

    async def _on_closed(self) -> None:
        self.connected.clear()
        self.closed.set()

    async def _on_error(self, error: Exception) -> None:
        # Refused connections are retried: the first and the last of them are said elsewhere.
        self._last_error = error
        # The client has a type for it, and does not use it while it connects.
        if "authorization" in str(error).lower():
            self._refused.set()


def _trust(pem: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=pem)
    except ssl.SSLError:
        raise CannotWork("`nats_tls_ca` holds no certificates, as PEM") from None

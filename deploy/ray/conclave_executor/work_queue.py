"""The queue of an executor in JetStream: its consumer, and whether it is empty."""

from __future__ import annotations

import asyncio
import contextlib

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo

from .broker import Broker
from .console import say
from .errors import CannotWork
from .settings import Settings

# The host makes the streams before it starts an executor: they come at once or not at all.
_STREAMS_SECONDS = 60
# Each actor has a handful of requests open.
_WAITING_MAX = 8192
# The consumer of a wave whose executor was stopped is removed after this time.
_WAVE_SECONDS = 3600.0
_TRIES_SECONDS = 24 * 3600.0
# How long a wave's queue that was announced to hold more may be empty.
_EMPTY_SECONDS = 10.0


async def prepare(broker: Broker, settings: Settings) -> None:
    """Makes what the executor needs, once the host's streams are there; raises `CannotWork`."""
    js = broker.client.jetstream()
    for stream in (broker.names.work_stream, broker.names.results_stream, broker.names.dead_stream):
        for second in range(_STREAMS_SECONDS):
            try:
                await js.stream_info(stream)
                break
            except nats.errors.Error:
                if second == 0:
                    say(f"waits for the stream {stream}, which the host makes")
                await asyncio.sleep(1)
        else:
            raise CannotWork(f"the stream {stream} is not there: does the host use this NATS?")
    try:
        # One entry a key, for a day: longer than a work lives.
        await js.create_key_value(bucket=broker.names.tries_bucket, ttl=_TRIES_SECONDS)
    except nats.errors.Error as error:
        raise CannotWork(f"the bucket {broker.names.tries_bucket} cannot be made: {error}") from None
    await make_consumer(broker, settings)


async def make_consumer(broker: Broker, settings: Settings) -> None:
    """Makes the consumer of the queue, or brings it up to the settings; raises `CannotWork`."""
    config = ConsumerConfig(
        durable_name=settings.queue,
        name=settings.queue,
        filter_subject=broker.names.queue(settings.queue),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=settings.ack_wait_ms / 1000,
        max_deliver=-1,
        max_ack_pending=-1,
        max_waiting=_WAITING_MAX,
        inactive_threshold=None if settings.count is None else _WAVE_SECONDS,
    )
    try:
        await broker.client.jetstream().add_consumer(broker.names.work_stream, config)
    except nats.errors.Error as error:
        raise CannotWork(f"the consumer `{settings.queue}` cannot be made: {error}") from None


class Wave:
    """Sees when all work of a wave has ended, whoever ended it, and however often its executor was started."""

    def __init__(self, broker: Broker, settings: Settings, count: int) -> None:
        self._broker = broker
        self._queue = settings.queue
        self._count = count
        self._empty_since: float | None = None

    async def has_ended(self) -> bool:
        """Whether the queue is empty after so much work as was announced, or stays empty: the host has removed work."""
        try:
            info = await self._broker.client.jetstream().consumer_info(self._broker.names.work_stream, self._queue)
        except nats.errors.Error:
            return False
        if info.num_pending != 0 or info.num_ack_pending != 0:
            self._empty_since = None
            return False
        now = asyncio.get_running_loop().time()
        if self._empty_since is None:
            self._empty_since = now
        return _ended(info) >= self._count or now - self._empty_since >= _EMPTY_SECONDS

    async def remove(self) -> None:
        """Removes the consumer, which nobody needs any more."""
        # Otherwise it is removed when it was not used for a while.
        with contextlib.suppress(nats.errors.Error):
            await self._broker.client.jetstream().delete_consumer(self._broker.names.work_stream, self._queue)


def _ended(info: ConsumerInfo) -> int:
    """How many deliveries have ended; a work that was delivered twice counts twice."""
    return 0 if info.ack_floor is None else info.ack_floor.consumer_seq

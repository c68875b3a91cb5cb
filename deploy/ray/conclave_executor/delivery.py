"""A message of the work queue: whose work it is, how often it was delivered, and what the stream is told of it."""

from __future__ import annotations

from nats.aio.msg import Msg

from . import codec
from .broker import Broker


class Delivery:
    """One delivery of work to this actor."""

    __slots__ = ("_broker", "_reply", "data", "host", "id", "key", "number", "published_ms", "tries_before")

    def __init__(self, broker: Broker, msg: Msg) -> None:
        self._broker = broker
        self._reply = msg.reply
        self.data = msg.data
        # conclave.work.C.Q.H.W
        self.host, self.id = msg.subject.split(".")[-2:]
        self.key = f"{self.host}.{self.id}"
        metadata = msg.metadata
        self.number = metadata.num_delivered
        # By the clock of the NATS server, in milliseconds since the Unix epoch.
        self.published_ms = metadata.timestamp.timestamp() * 1000
        # How often the work was started before this delivery.
        self.tries_before = 0

    def take_over(self, later: Delivery) -> None:
        """The stream has delivered the same work again, and listens to its latest delivery."""
        self._reply = later._reply
        self.number = later.number

    async def ack(self) -> bool:
        """The work has ended; whether that was sent."""
        return await self._broker.send(self._reply, b"+ACK")

    async def in_progress(self) -> None:
        """The work is still being done."""
        await self._broker.send(self._reply, b"+WPI")

    async def put_back(self, seconds: float = 0.0) -> None:
        """Somebody else shall do the work, so many seconds from now."""
        delay = b"" if seconds == 0 else b" " + codec.encode({"delay": round(seconds * 1e9)})
        await self._broker.send(self._reply, b"-NAK" + delay)

"""The streams as the host makes them: the table of PROTOCOL.md."""

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

HOUR = 3600.0


async def make_streams(js: JetStreamContext, cluster: str, queue_max: int = 100_000) -> None:
    """Makes the three streams of a cluster, in memory."""
    work = StreamConfig(
        name=f"CONCLAVE_WORK_{cluster}",
        subjects=[f"conclave.work.{cluster}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        max_msgs_per_subject=1,
        max_msgs=queue_max,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,
    )
    results = StreamConfig(
        name=f"CONCLAVE_RESULTS_{cluster}",
        subjects=[f"conclave.result.{cluster}.>"],
        max_msgs_per_subject=1,
        max_age=HOUR,
    )
    dead = StreamConfig(
        name=f"CONCLAVE_DEAD_{cluster}",
        subjects=[f"conclave.dead.{cluster}.>"],
        max_age=7 * 24 * HOUR,
    )
    for config in (work, results, dead):
        await js.add_stream(config.evolve(storage=StorageType.FILE))

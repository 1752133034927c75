"""Opening: a partition works only in the epoch that Postgres knows of."""

from __future__ import annotations

from .errors import ServiceUnavailable
from .keys import Keys
from .scripts import DONE_GROUP, INTAKE_GROUP, QUEUE_GROUP, Closed, Connection, open_partition
from .stores.connection import Pool
from .stores.cursors import open_cursor


async def open_partitions(redis: Connection, pool: Pool, keys: Keys, partitions: int) -> None:
    """Open what is new and check what is open. Idempotent.

    Raises ServiceUnavailable where Redis has forgotten a partition that the log knows: going on would fork history.
    """
    for number in range(partitions):
        partition = keys.partition(number)
        async with pool.acquire() as conn:
            cursor = await open_cursor(conn, keys.env, number)
        streams = [
            (partition.done, DONE_GROUP),
            (partition.submit, INTAKE_GROUP),
            (partition.queue("system:normal"), QUEUE_GROUP),
        ]
        is_new = cursor.partition_seq == 0
        try:
            epoch = await open_partition(redis, partition, streams, epoch=cursor.epoch if is_new else None)
        except Closed as error:
            raise ServiceUnavailable(
                f"Redis has lost partition {number} of environment {keys.env!r}, which the log knows",
                hint="restore Redis from its append-only file; the log itself is complete",
            ) from error
        if epoch != cursor.epoch:
            raise ServiceUnavailable(
                f"partition {number} of {keys.env!r} is in epoch {epoch} in Redis and {cursor.epoch} in Postgres",
                hint="are the Redis and Postgres URLs of the same installation?",
            )

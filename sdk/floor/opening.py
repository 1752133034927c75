"""Opening: a partition works only in the epoch that Postgres knows of."""

from __future__ import annotations

import structlog
from redis.asyncio import Redis

from ..keys import Keys, PartitionKeys
from ..stores.connection import Pool
from ..stores.cursors import make_cursor
from .scripts import DONE_GROUP, INTAKE_GROUP, QUEUE_GROUP, Closed, open_partition
from .standing import judge, look, refuse_behind

log = structlog.get_logger()


async def open_partitions(redis: Redis, pool: Pool, keys: Keys, partitions: int) -> None:
    """Open what is new, and check what is not. Idempotent.

    A partition that Redis has forgotten, or has in an older epoch, is left closed: a supervisor rebuilds it from the
    log, and until then starts are only accepted. Raises ServiceUnavailable where Postgres is behind Redis.
    """
    for number in range(partitions):
        partition = keys.partition(number)
        async with pool.acquire() as conn:
            cursor, is_new = await make_cursor(conn, keys.env, number)
            standing = judge(await look(redis, conn, keys.env, partition, number), number)
        refuse_behind(standing)
        try:
            await make_groups(redis, partition, epoch=cursor.epoch if is_new else None)
        except Closed:
            log.warning("partition_left_to_supervisor", partition=number, env=keys.env, reason=standing.reason)


async def make_groups(redis: Redis, partition: PartitionKeys, *, epoch: int | None = None) -> None:
    """Make the groups that everybody takes for granted; other queues get theirs from who reads them.

    Opens the partition with ``epoch``, where one is given and there is none. Raises Closed.
    """
    streams = [
        (partition.done, DONE_GROUP),
        (partition.submit, INTAKE_GROUP),
        (partition.queue("system:normal"), QUEUE_GROUP),
    ]
    await open_partition(redis, partition, streams, epoch=epoch)

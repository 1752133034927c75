"""The registry: what workers announce in Redis is copied to Postgres, where people look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import anyio
import asyncpg
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ..sdk.floor.clock import read_clock
from ..sdk.keys import Keys, PartitionKeys
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.stores.connection import Pool
from ..sdk.stores.workers import WorkerRow, announce_workers

LOOK_S = 5.0
FORGOTTEN_S = 3_600
_words = msgspec.json.Decoder(tuple[str, ...])
log = structlog.get_logger()


class Registry:
    """Copies the announcements of one partition."""

    def __init__(self, redis: Redis, pool: Pool, keys: Keys, partition: PartitionKeys) -> None:
        self._redis = redis
        self._pool = pool
        self._env = keys.env
        self._partition = partition

    async def run(self) -> None:
        while True:
            try:
                await self.copy()
            except SERVER_ERRORS as error:
                log.warning("registry_failed", error=str(error))
            await anyio.sleep(LOOK_S)

    async def copy(self) -> None:
        """Copy all announcements once."""
        forgotten = await read_clock(self._redis) - FORGOTTEN_S
        await self._redis.zremrangebyscore(self._partition.workers, "-inf", forgotten)
        workers: list[WorkerRow] = []
        for name in await self._redis.zrange(self._partition.workers, 0, -1):
            try:
                said = await self._redis.hgetall(self._partition.worker(name.decode()))
                if b"seen_at" in said:
                    workers.append(_read_worker(name.decode(), said))
            except (ResponseError, KeyError, ValueError, OverflowError) as error:
                log.warning("worker_unreadable", worker=name, error=repr(error))
        if workers:
            try:
                await self._announce(workers)
            except asyncpg.DataError:
                for worker in workers:
                    try:
                        await self._announce([worker])
                    except asyncpg.DataError as error:
                        log.warning("worker_unreadable", worker=worker.consumer, error=str(error))

    async def _announce(self, workers: Sequence[WorkerRow]) -> None:
        async with self._pool.acquire() as conn:
            await announce_workers(conn, self._env, workers)


def _read_worker(name: str, said: dict[bytes, bytes]) -> WorkerRow:
    return WorkerRow(
        consumer=name,
        host=said[b"host"].decode(),
        pid=int(said[b"pid"]),
        build=said[b"build"].decode(),
        handlers=_words.decode(said[b"handlers"]),
        queues=_words.decode(said[b"queues"]),
        started_at=datetime.fromtimestamp(float(said[b"started_at"]), UTC),
        last_seen=datetime.fromtimestamp(float(said[b"seen_at"]), UTC),
    )

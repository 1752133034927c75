"""The listener: one lane's blocking read, on a connection of its own. It never times out a read by itself.

What a read was given and could not deliver, because its connection broke, stays pending: the lane looks for that.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ..sdk.floor.scripts import QUEUE_GROUP
from ..sdk.floor.streams import read_group

BLOCK_MS = 2_000
GIVEN_MAX = 10_000
log = structlog.get_logger()


class Listener:
    """Reads ``streams`` for ``consumer``. ``redis``: a client with a single connection.

    ``paused``: numbers of streams that are left out, from the next read on.
    """

    def __init__(self, redis: Redis, consumer: str, streams: Sequence[str]) -> None:
        self._redis = redis
        self._consumer = consumer
        self._numbers = {stream: number for number, stream in enumerate(streams, start=1)}
        self._client_id = 0
        self.is_group_missing = False
        self.paused: frozenset[int] = frozenset()

    async def read(self, count: int) -> list[tuple[int, str]] | None:
        """Wait for entries; return (number of the stream, entry id). None: it failed, and may have been given some."""
        try:
            if not self._client_id:
                self._client_id = int(await self._redis.client_id())
            return await self._read(self._redis, count, ">")
        except ResponseError as error:
            self.is_group_missing = "NOGROUP" in str(error)
            log.warning("read_refused", error=str(error))
        except (RedisError, OSError) as error:
            log.warning("redis_unreachable", error=str(error))
        self._client_id = 0  # a new connection has another one
        return None

    async def read_given(self, redis: Redis) -> list[tuple[int, str]]:
        """Return all that is pending for this consumer, over another connection. Raises what redis-py raises."""
        return await self._read(redis, GIVEN_MAX, "0")

    async def _read(self, redis: Redis, count: int, after: str) -> list[tuple[int, str]]:
        is_new = after == ">"
        streams = [stream for stream, number in self._numbers.items() if not (is_new and number in self.paused)]
        block_ms = BLOCK_MS if is_new else None
        pages = await read_group(
            redis, QUEUE_GROUP, self._consumer, streams, count=count, block_ms=block_ms, after=after
        )
        return [(self._numbers[stream], entry) for stream, entries in pages for entry, _ in entries]

    async def unblock(self, redis: Redis) -> None:
        """End the read at once, from another connection; what it has been given by then is returned."""
        if not self._client_id:
            return
        try:
            await redis.client_unblock(self._client_id)
        except (RedisError, OSError) as error:
            log.warning("redis_unreachable", error=str(error))

"""Step logs: the lines that workers have said are taken from Redis and stored, where they are read from then on.

At least once is enough: a line that is stored already stays as it is. One supervisor at a time stores the lines of a
partition. While Postgres is away they wait in Redis, up to the bound of their stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import anyio
import msgspec
import structlog

from ..sdk.fault_points import reach
from ..sdk.keys import Keys
from ..sdk.logs.step_lines import LINES, StepLine, decode_lines
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.stores.step_logs import drop_old_lines, insert_lines, take_turn

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ..sdk.stores.connection import Pool

BATCH = 100
"""Entries; each has up to 16 KiB of lines."""
BLOCK_MS = 5_000
PAUSE_S = 1.0
UPKEEP_S = 3_600.0
log = structlog.get_logger()


class StepLogs:
    """Those of one partition. ``keep_s``: how old a line becomes."""

    def __init__(self, redis: Redis, blocking: Redis, pool: Pool, keys: Keys, partition: int, *, keep_s: float) -> None:
        self._redis = redis
        self._blocking = blocking
        self._pool = pool
        self._env = keys.env
        self._partition = partition
        self._stream = keys.partition(partition).step_log
        self._keep_s = keep_s
        self._dropped_at = -UPKEEP_S

    async def run(self) -> None:
        """Store until cancelled."""
        while True:
            try:
                if anyio.current_time() - self._dropped_at >= UPKEEP_S:
                    await self.drop_old()
                    self._dropped_at = anyio.current_time()
                await self._blocking.xread({self._stream: "0-0"}, count=1, block=BLOCK_MS)
                if not await self.store():
                    await anyio.sleep(PAUSE_S)
            except SERVER_ERRORS as error:
                log.warning("step_logs_not_stored", error=str(error) or repr(error), partition=self._partition)
                await anyio.sleep(PAUSE_S)

    async def store(self) -> bool:
        """Store what waits, one batch. Return False where another supervisor is at it."""
        entries: list[tuple[bytes, Mapping[bytes, bytes]]] = await cast("Any", self._redis).execute_command(
            "XRANGE", self._stream, "-", "+", "COUNT", BATCH
        )
        if not entries:
            return True
        async with self._pool.acquire() as conn, conn.transaction():
            if not await take_turn(conn, self._env, self._partition):
                return False
            await insert_lines(conn, self._env, [line for _, fields in entries for line in self._read(fields)])
        reach("after_step_lines")
        await self._redis.xdel(self._stream, *(name for name, _ in entries))
        return True

    async def drop_old(self) -> None:
        """Delete lines that nobody is to read any more."""
        is_more = True
        while is_more:
            async with self._pool.acquire() as conn:
                is_more = await drop_old_lines(conn, self._env, self._keep_s)

    def _read(self, fields: Mapping[bytes, bytes]) -> list[StepLine]:
        try:
            return decode_lines(fields.get(LINES, b""))
        except msgspec.DecodeError as error:
            log.warning("step_lines_unreadable", error=str(error), partition=self._partition)
            return []

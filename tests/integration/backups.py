"""Backups: what one environment has in Redis or in Postgres, put back later as an older copy of a server would."""

from __future__ import annotations

from typing import NamedTuple

from redis.asyncio import Redis

from courante.sdk.stores.connection import Connection


class Kept(NamedTuple):
    """A key as DUMP has it; ``ttl_ms`` is 0 where it lives for ever."""

    ttl_ms: int
    content: bytes


async def wipe_redis(redis: Redis, env: str) -> None:
    """What FLUSHALL does, to one environment, in one go."""
    pipe = redis.pipeline(transaction=True)
    names = await _names(redis, env)
    if names:
        pipe.delete(*names)  # pyright: ignore[reportUnusedCoroutine]
        await pipe.execute()


async def keep_redis(redis: Redis, env: str) -> dict[bytes, Kept]:
    """Copy everything, as it is at one moment. Nobody may make or drop a key meanwhile."""
    names = await _names(redis, env)
    pipe = redis.pipeline(transaction=True)
    for name in names:
        pipe.execute_command("PTTL", name)  # pyright: ignore[reportUnusedCoroutine]
        pipe.execute_command("DUMP", name)  # pyright: ignore[reportUnusedCoroutine]
    found = await pipe.execute()
    pairs = zip(names, found[::2], found[1::2], strict=True)
    return {name: Kept(max(0, ttl), content) for name, ttl, content in pairs if content is not None}


async def set_redis_back(redis: Redis, env: str, kept: dict[bytes, Kept]) -> None:
    """Nothing but the copy is there, from one moment to the next."""
    names = await _names(redis, env)
    pipe = redis.pipeline(transaction=True)
    if names:
        pipe.delete(*names)  # pyright: ignore[reportUnusedCoroutine]
    for name, one in kept.items():
        pipe.execute_command("RESTORE", name, one.ttl_ms, one.content, "REPLACE")  # pyright: ignore[reportUnusedCoroutine]
    await pipe.execute()


async def _names(redis: Redis, env: str) -> list[bytes]:
    return [key async for key in redis.scan_iter(match=f"courante:{env}:*", count=1_000)]


TABLES = """
    event_log event_payloads payloads runs node_executions attempt_spending run_spending recorder_cursors
    partition_homes reconciler_marks
""".split()


class PostgresCopy:
    """One environment's rows of what the recorder writes; commands are left as they are."""

    def __init__(self, env: str) -> None:
        self._env = env
        self._suffix = env.replace("-", "_")

    async def keep(self, conn: Connection) -> None:
        """Copy the rows, as they are at one moment."""
        async with conn.transaction(isolation="repeatable_read"):
            for table in TABLES:
                copy = f"copy_{self._suffix}_{table}"
                await conn.execute(f"CREATE TABLE {copy} AS SELECT * FROM {table} WHERE env = '{self._env}'")

    async def set_back(self, conn: Connection) -> None:
        """As a server that is restored from the copy. Triggers that guard the log are passed by."""
        async with conn.transaction():
            await conn.execute("SET LOCAL session_replication_role = replica")
            for table in TABLES:
                await conn.execute(f"DELETE FROM {table} WHERE env = '{self._env}'")
                await conn.execute(f"INSERT INTO {table} SELECT * FROM copy_{self._suffix}_{table}")

"""Connections: how this project talks to Redis and Postgres.

Redis clients never repeat a command by themselves: who calls a script knows whether and how to repeat it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import asyncpg
from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.retry import Retry as BlockingRetry

from .redis_connection import watch_connections
from .stores.connection import Pool

if TYPE_CHECKING:
    PostgresConnection = asyncpg.Connection[asyncpg.Record]
else:
    PostgresConnection = asyncpg.Connection

CONNECTIONS_MAX = 32
POSTGRES_CONNECTIONS_MAX = 8
TIMEOUT_S = 30.0
SILENCE_MS = 30_000
CLOSE_S = 2.0


def connect_redis(url: str, *, is_blocking: bool = False, connections_max: int = CONNECTIONS_MAX) -> Redis:
    """Return a client. ``is_blocking``: for reads that block; they are not timed out, a cancelled one loses entries.

    connections_max: at least the number of reads that block at the same time.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None if is_blocking else TIMEOUT_S,
        socket_connect_timeout=5.0,
        max_connections=connections_max,
        timeout=TIMEOUT_S,
    )
    watch_connections(pool)
    return Redis.from_pool(pool)


def connect_alone(url: str) -> Redis:
    """Return a client with one connection of its own, for one caller at a time.

    For blocking reads that someone else may have to unblock, and for callers that go from one script to the next.
    """
    client = Redis.from_url(
        url, single_connection_client=True, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=5.0
    )
    watch_connections(client.connection_pool)
    return client


def connect_blocking(url: str, *, timeout_s: float) -> BlockingRedis:
    """Return a client for a thread: it blocks, and nothing but its own thread uses it."""
    return BlockingRedis.from_url(
        url, retry=BlockingRetry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
    )


async def close_redis(*clients: Redis) -> None:
    """Close clients, also where the caller was cancelled. One that takes long keeps no other from being closed."""
    with anyio.CancelScope(shield=True):
        for client in clients:
            with anyio.move_on_after(CLOSE_S):
                await client.aclose()


class _PooledConnection(PostgresConnection):
    """Of a transaction in which somebody was cancelled asyncpg tells the event loop, though nothing is left of it."""

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg calls it so
        """Take back what is open, whose ROLLBACK was cancelled too, then as always."""
        if self.is_in_transaction():
            await self.execute("ROLLBACK", timeout=timeout)
        await super().reset(timeout=timeout)


async def connect_postgres(
    url: str, *, connections_max: int = POSTGRES_CONNECTIONS_MAX, silence_ms: int = SILENCE_MS
) -> Pool:
    """Return a pool. Raises OSError or asyncpg.PostgresError where the server cannot be reached.

    silence_ms: after so long without a word in a transaction Postgres ends it. Whoever is frozen, or cut off without a
    trace, would keep its locks for as long as its session lives, and nobody else could record.
    """
    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections_max,
        connection_class=_PooledConnection,
        command_timeout=TIMEOUT_S * 2,
        max_inactive_connection_lifetime=300,
        server_settings={"idle_in_transaction_session_timeout": str(silence_ms)},
    )
    assert pool is not None
    return pool


async def connect_postgres_alone(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """Return one connection, for one caller at a time. Raises OSError or asyncpg.PostgresError."""
    return await asyncpg.connect(url, command_timeout=TIMEOUT_S * 2)

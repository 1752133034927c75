"""Retrying: what a worker asks of a server that cannot be reached, asked until it can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog
from redis.exceptions import RedisError

BACKOFF_S_MAX = 5.0
T = TypeVar("T")
log = structlog.get_logger()


async def retry(call: Callable[[], Awaitable[T]]) -> T:
    """Return what it comes to, however long Redis, or where payloads lie cold, cannot be reached."""
    delay = 0.05
    while True:
        try:
            return await call()
        except (RedisError, OSError) as error:
            log.warning(
                "redis_unreachable" if isinstance(error, RedisError) else "server_unreachable", error=str(error)
            )
            await anyio.sleep(delay)
            delay = min(BACKOFF_S_MAX, delay * 2)

"""Blobs: where a worker puts the contents of artifacts before an output refers to them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.floor.payloads import ColdStore, load_payload, store_payload
from ..sdk.keys import Keys
from ..sdk.outcomes.step_context import StepError
from ..sdk.sealing.payload_terms import PayloadTooLarge

BACKOFF_S_MAX = 5.0
TALK_S = 8 * 86_400
"""What no event names is collected before, by the default of ``payload_keep_s``."""
log = structlog.get_logger()


class Blobs:
    """Of one environment."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def keep(self, content: bytes, talk: str | None = None) -> str:
        """Store a content and return its digest as hex; waits for a Redis that is away. Raises StepError.

        talk: the key at which ``forget`` finds it, where no event will name it.
        """
        delay_s = 0.05
        while True:
            try:
                reference = await store_payload(self._redis, self._keys, content)
                digest = reference[1:].split(b":")[0].decode()
                if talk is not None:
                    await cast("Awaitable[int]", self._redis.sadd(talk, digest))
                    await self._redis.expire(talk, TALK_S)
            except PayloadTooLarge as error:
                raise StepError("PAYLOAD_TOO_LARGE", str(error)) from error
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
                await anyio.sleep(delay_s)
                delay_s = min(BACKOFF_S_MAX, delay_s * 2)
            else:
                return digest

    async def load(self, address: str, cold: ColdStore | None = None) -> bytes:
        """Return a content by its digest as hex; waits for a Redis that is away. Raises PayloadMissing."""
        delay_s = 0.05
        while True:
            try:
                return await load_payload(self._redis, self._keys, f"@{address}:0".encode(), cold)
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
                await anyio.sleep(delay_s)
                delay_s = min(BACKOFF_S_MAX, delay_s * 2)

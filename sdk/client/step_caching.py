"""Cached outputs of an environment: what is kept, how often it was taken, and making it void."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec
from redis.asyncio import Redis

from ..caching.cache_keys import read_key
from ..caching.cached import decode_kept
from ..floor.clock import read_clock
from ..keys import Keys
from ..stores.connection import Pool
from ..stores.step_cache import CacheTerms, StepCacheStats, count_outputs, delete_outputs, raise_floor, read_statistics
from ..unavailable import AsUnavailable

KEYS_A_CALL = 500


class Invalidated(msgspec.Struct, frozen=True, kw_only=True):
    """How many outputs are void from now on, by where they were. Most are in both."""

    postgres: int
    redis: int
    is_dry: bool = False

    @property
    def entries(self) -> int:
        """At least so many outputs."""
        return max(self.postgres, self.redis)


class Place(Protocol):
    """Where outputs are kept: a client, once it is open."""

    redis: Redis
    pool: Pool
    keys: Keys


class StepCaching:
    """Safe for any number of tasks."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def statistics(self, *, workflow: str = "", step: str = "") -> Sequence[StepCacheStats]:
        """Return what is recorded, by workflow and step."""
        with AsUnavailable():
            now_ms = int(await read_clock(self._place.redis) * 1000)
            async with self._place.pool.acquire() as conn:
                return await read_statistics(conn, self._place.keys.env, now_ms, workflow=workflow, step=step)

    async def invalidate(
        self,
        *,
        key: str = "",
        workflow: str = "",
        step: str = "",
        older_than_ms: int = 0,
        is_all: bool = False,
        dry_run: bool = False,
    ) -> Invalidated:
        """Make outputs void for ever, also those that are recorded later, and delete them.

        Those of a key, of a workflow, of a step, or of both; all with ``is_all``. older_than_ms: only those that were
        made so long ago. An attempt that is under way now may still be taken from: it counts from when it was handed
        out. Raises ValueError where nothing says which.
        """
        if not (key or workflow or step or older_than_ms or is_all):
            raise ValueError("which outputs is not said: a key, a workflow, a step, an age, or all")
        if key and read_key(key) is None:
            raise ValueError(f"{key[:300]!r} is no key of an output: <workflow>:<step>:<hash>")
        with AsUnavailable():
            now_ms = int(await read_clock(self._place.redis) * 1000)
            below_ms = now_ms - older_than_ms if older_than_ms else now_ms + 1
            parts = read_key(key)
            if parts is not None:
                workflow, step = workflow or parts.workflow, step or parts.step
            terms = CacheTerms(below_ms=below_ms, workflow=workflow, step=step, key=key)
            if dry_run:
                async with self._place.pool.acquire() as conn:
                    postgres = await count_outputs(conn, self._place.keys.env, terms)
                return Invalidated(postgres=postgres, redis=await self._sweep(terms, is_dry=True), is_dry=True)
            return Invalidated(postgres=await self._void(terms, now_ms), redis=await self._sweep(terms, is_dry=False))

    async def _void(self, terms: CacheTerms, now_ms: int) -> int:
        """Workers know of the new floor before anybody is told that it is there."""
        deleted = 0
        async with self._place.pool.acquire() as conn:
            async with conn.transaction():
                floors = await raise_floor(conn, self._place.keys.env, terms, now_ms)
                await self._place.redis.set(self._place.keys.cache_floors, floors.content())
            while some := await delete_outputs(conn, self._place.keys.env, terms):
                deleted += len(some)
        return deleted

    async def _sweep(self, terms: CacheTerms, *, is_dry: bool) -> int:
        """Delete from Redis, or count. What is left over is void all the same: every reader compares the times."""
        found = 0
        async for names in self._pages(terms):
            contents = await self._place.redis.mget(names)
            void = [
                name
                for name, content in zip(names, contents, strict=True)
                if content is not None and ((kept := decode_kept(content)) is None or kept.made_ms < terms.below_ms)
            ]
            if void and not is_dry:
                await self._place.redis.unlink(*void)
            found += len(void)
        return found

    async def _pages(self, terms: CacheTerms) -> AsyncGenerator[list[bytes]]:
        if terms.key:
            yield [self._place.keys.cached(terms.key).encode()]
            return
        wanted = self._place.keys.cached(f"{_any(terms.workflow)}:{_any(terms.step)}:*")
        cursor = 0
        while True:
            cursor, names = await self._place.redis.scan(cursor, match=wanted, count=KEYS_A_CALL)
            if names:
                yield names
            if not cursor:
                return


def _any(name: str) -> str:
    """A part of a pattern: what is empty is anything."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", name) or "*"

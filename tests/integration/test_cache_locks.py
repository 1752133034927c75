"""Locks of outputs are given up by whoever holds them, however it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import anyio
import pytest
from redis.asyncio import Redis

from courante.compiler.workflow import Cache
from courante.runner.step_cache import Flight, StepCache
from courante.sdk.floor.cache_calls import CacheCalls, Lock
from courante.sdk.keys import Keys

pytestmark = pytest.mark.anyio
ONE, OTHER = Lock("w:s:00", "r|1", "1"), Lock("w:s:00", "r|2", "1")
CACHE = Cache()


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def held(cache: StepCache, lock: Lock) -> Flight:
    """Take a lock as who waits for an output does."""
    for _ in range(20):
        flight, _ = await cache.take(lock, CACHE, 1)
        if flight is not None:
            return flight
        await cache.wait(lock.key, 0.05)
    raise AssertionError("another one holds it")


async def test_who_is_cancelled_while_it_asks_holds_nothing(redis: Redis, env_name: str) -> None:
    """A handler's time may be over in that moment; nobody would ever give its lock up."""
    cache = StepCache(redis, Keys(env_name), None, lock_ms=60_000)
    async with anyio.create_task_group() as group:
        group.start_soon(cache.run)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await cache.take(ONE, CACHE, 1)
        (await held(cache, OTHER)).end(is_applied=False)
        await cache.flush()
        group.cancel_scope.cancel()


class Slow(CacheCalls):
    """Renews only when it is told to."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        super().__init__(redis, keys)
        self.entered, self.leave, self.renewed = anyio.Event(), anyio.Event(), anyio.Event()

    async def renew(self, locks: Sequence[Lock], ms: int) -> list[bool]:
        self.entered.set()
        await self.leave.wait()
        found = await super().renew(locks, 200 * ms)
        self.renewed.set()
        return found


async def test_a_lock_that_is_given_up_while_it_is_renewed_is_free(
    redis: Redis, env_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal may come to Redis last; who waits has not to wait for the end of its time."""
    keys = Keys(env_name)
    cache, slow = StepCache(redis, keys, None, lock_ms=3_000), Slow(redis, keys)
    monkeypatch.setattr(cache, "_calls", slow)
    async with anyio.create_task_group() as group:
        group.start_soon(cache.run)
        flight = await held(cache, ONE)
        await slow.entered.wait()
        flight.end(is_applied=False)
        await flight.landed.wait()
        assert not await redis.exists(keys.cache_lock(ONE.key))
        slow.leave.set()
        await slow.renewed.wait()
        (await held(cache, OTHER)).end(is_applied=False)
        await cache.flush()
        group.cancel_scope.cancel()

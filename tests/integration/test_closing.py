"""Connections to Redis at the end of what has used them: none is left to its server, whoever else does not end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk import connections
from courante.sdk.connections import close_redis, connect_redis
from integration.stage import until

pytestmark = pytest.mark.anyio


class Hanging(Redis):
    """Is never closed."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: ARG002 - as redis-py has it
        await anyio.sleep_forever()


@pytest.fixture
async def used(redis: Redis, redis_url: str) -> AsyncIterator[Redis]:
    """A client with a connection."""
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


async def connected(redis: Redis) -> set[int]:
    return {int(found["id"]) for found in await redis.client_list()}


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_one_that_hangs_keeps_no_other_from_being_closed(
    redis: Redis, used: Redis, monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool
) -> None:
    monkeypatch.setattr(connections, "CLOSE_S", 0.01)
    number = await used.client_id()
    with anyio.CancelScope() as scope:
        if is_cancelled:
            scope.cancel()
        await close_redis(Hanging(), used)

    await until(lambda: connected(redis), lambda found: number not in found)

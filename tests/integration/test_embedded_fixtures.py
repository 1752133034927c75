"""The fixtures that the other integration tests stand on."""

from __future__ import annotations

import asyncpg
import pytest
import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster

pytestmark = pytest.mark.anyio


async def test_each_test_has_its_own_database(database: str) -> None:
    """The URL of the fixture is taken by asyncpg and leads to an empty database."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("CREATE TABLE mine (n int)")
        assert str(await connection.fetchval("SELECT current_database()")).startswith("t_")
    finally:
        await connection.close()


async def test_the_next_test_does_not_see_it(database: str) -> None:
    """A table made in one test's database is not in another's."""
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT to_regclass('mine')") is None
    finally:
        await connection.close()


async def test_redis_url_is_taken_by_redis_py(redis_url: str, env_name: str) -> None:
    """The Unix socket URL works with the asyncio client."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:  # pyright: ignore[reportUnknownMemberType]
        assert await client.set(f"courante:{env_name}:x", "1", ex=60)


async def test_cluster_serves_all_slots(cluster_nodes: list[tuple[str, int]], env_name: str) -> None:
    """Keys of many slots can be written through any node of the cluster."""
    nodes = [ClusterNode(host, port) for host, port in cluster_nodes]
    async with RedisCluster(startup_nodes=nodes) as client:
        for number in range(32):
            assert await client.set(f"courante:{env_name}:{{{number}}}:x", "1", ex=60)

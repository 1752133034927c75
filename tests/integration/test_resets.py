"""Connections that Redis has reset, or what stands before it: an error of Redis on every event loop, and no end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from chaos.proxy import Proxy, open_proxy
from courante.sdk.connections import connect_alone, connect_redis
from courante.sdk.redis_connection import WATCHED
from integration.stage import Place, open_stage, until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The loop of users, and the one of the daemons."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def way(redis_url: str) -> AsyncIterator[Proxy]:
    async with open_proxy(urlsplit(redis_url).path) as made:
        yield made


def double(value: int) -> int:
    return 2 * value


async def reset(way: Proxy, connection: AbstractConnection) -> None:
    """Reset all connections, and wait until this one has heard of it."""
    way.reset()
    writer = connection._writer
    assert writer is not None
    await until(anyio.lowlevel.checkpoint, lambda _: writer.is_closing())


async def test_an_idle_connection_of_a_pool_is_made_anew(way: Proxy) -> None:
    """Nobody hears of it who uses the client afterwards."""
    client = connect_redis(f"redis://127.0.0.1:{way.port}")
    connection = await client.connection_pool.get_connection()
    await client.connection_pool.release(connection)
    await reset(way, connection)
    assert await client.ping()
    await client.aclose()


async def test_a_connection_in_use_says_so_and_connects_again(way: Proxy) -> None:
    """With a timeout, as those of pools, or without, as those of one caller."""
    pooled, alone = connect_redis(f"redis://127.0.0.1:{way.port}"), connect_alone(f"redis://127.0.0.1:{way.port}")
    await alone.initialize()
    for client, connection in ((pooled, await pooled.connection_pool.get_connection()), (alone, alone.connection)):
        assert connection is not None
        await reset(way, connection)
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
        await connection.send_command("PING")
        assert await connection.read_response() == b"PONG"
        if client is pooled:
            await pooled.connection_pool.release(connection)
        await client.aclose()


async def test_every_way_to_redis_is_watched() -> None:
    for scheme in ("redis://h", "rediss://h", "unix:///h"):
        for client in (connect_redis(scheme), connect_alone(scheme)):
            assert client.connection_pool.connection_class in WATCHED.values()


async def test_daemons_outlive_resets(place: Place) -> None:
    """F21: all connections at once, while nobody uses most of them; a worker and a supervisor go on."""
    async with open_proxy(urlsplit(place.redis_url).path) as way:
        through = Place(f"redis://127.0.0.1:{way.port}", place.database_url, place.env)
        async with open_stage(through) as stage:
            stage.supervisor()
            stage.worker({"double": double})
            workflow = await stage.register({"id": "a", "type": "function", "config": {"handler": "double"}})
            for number in range(3):
                assert (await stage.run(workflow, number)).output == {"a": 2 * number}
                way.reset()
            assert (await stage.run(workflow, 7)).output == {"a": 14}

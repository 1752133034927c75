"""What the doctor finds in real servers that are set unsafely."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import redis.asyncio

from courante.compiler.diagnostics import Severity
from courante.sdk.health.durability import inspect_postgres, inspect_redis

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(url) as client:  # pyright: ignore[reportUnknownMemberType]
        yield client


async def test_embedded_servers_are_safe(redis_url: str, database: str) -> None:
    """Nothing is found in the servers that we start ourselves."""
    async with client_of(redis_url) as client:
        report = await inspect_redis(client)
    assert report.problems == ()
    assert (report.appendonly, report.appendfsync, report.maxmemory_policy) == (True, "everysec", "noeviction")
    assert report.version.startswith(("Valkey", "Redis"))
    connection = await asyncpg.connect(database)
    try:
        log = await inspect_postgres(connection)
    finally:
        await connection.close()
    assert log.problems == ()
    assert (log.fsync, log.synchronous_commit, log.full_page_writes) == (True, "on", True)


async def test_an_evicting_redis_is_refused(unsafe_redis: tuple[str, int]) -> None:
    """F28: allkeys-lru is an error, no append-only file a warning; each has a hint."""
    host, port = unsafe_redis
    async with client_of(f"redis://{host}:{port}/0") as client:
        report = await inspect_redis(client)
    assert {p.code: p.severity for p in report.problems} == {
        "redis_evicts": Severity.ERROR,
        "redis_no_aof": Severity.WARNING,
    }
    assert all(p.hint for p in report.problems)
    assert report.maxmemory_bytes == 64 * 1024 * 1024


async def test_a_redis_that_hides_its_config_is_still_judged(unsafe_redis: tuple[str, int]) -> None:
    """A user without CONFIG, as managed servers have it, gets the same findings from INFO."""
    host, port = unsafe_redis
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(b"ACL SETUSER limited on >pw ~* +@all -config\r\n")
        assert connection.recv(64) == b"+OK\r\n"
    async with client_of(f"redis://limited:pw@{host}:{port}/0") as client:
        report = await inspect_redis(client)
    assert {p.code for p in report.problems} == {"redis_evicts", "redis_no_aof"}
    assert report.maxmemory_policy == "allkeys-lru"
    assert report.appendfsync is None


async def test_an_asynchronous_postgres_is_refused(database: str) -> None:
    """synchronous_commit off in the engine's own session is an error."""
    connection = await asyncpg.connect(database, server_settings={"synchronous_commit": "off"})
    try:
        report = await inspect_postgres(connection)
    finally:
        await connection.close()
    assert [(p.code, p.severity) for p in report.problems] == [("postgres_async_commit", Severity.ERROR)]

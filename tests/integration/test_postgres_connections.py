"""What a pool's connection that somebody was cancelled on leaves behind: nothing, and not a word about it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from courante.sdk.connections import connect_postgres

pytestmark = pytest.mark.anyio


async def test_who_is_cancelled_in_a_transaction_takes_it_back_without_a_word(database: str) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context))
    async with await connect_postgres(database, connections_max=1) as pool:
        with anyio.CancelScope() as scope:
            async with pool.acquire() as conn, conn.transaction():
                await conn.execute("CREATE TABLE unheard (of int)")
                scope.cancel()
                await conn.execute("SELECT 1")
        async with pool.acquire() as conn:
            assert not conn.is_in_transaction()
            assert await conn.fetchval("SELECT to_regclass('unheard')") is None
    assert scope.cancelled_caught
    assert heard == []

"""Homes: on which Redis each partition is open, and in which epoch; who recovers it takes it there.

A Redis that is found closed, or in an older epoch, is brought up to date only while its partition is not alive on
another one: else two halves of a torn network would recover it in turns.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from .connection import Connection, Pool
from .queries import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

TOUCH_S = 2.0
"""A home is noted as seen no more often than that."""

_sql = load_queries("cursors")


class Home(NamedTuple):
    """``incarnation``: id of the server's run, which a restart changes. ``unseen_s``: since somebody saw it open."""

    epoch: int
    incarnation: str
    unseen_s: float


async def read_home(conn: Connection, env: str, partition: int) -> Home | None:
    row = await conn.fetchrow(_sql["read_home"], env, partition)
    return None if row is None else Home(*row)


async def settle_home(conn: Connection, env: str, partition: int, epoch: int, incarnation: str) -> None:
    """Note where a partition is open from this epoch on. An epoch that is not later than the one known does nothing."""
    await conn.execute(_sql["settle_home"], env, partition, epoch, incarnation)


async def touch_home(conn: Connection, env: str, partition: int, epoch: int, incarnation: str) -> None:
    """Note that the partition was seen open there. Does nothing where its home is another."""
    await conn.execute(_sql["touch_home"], env, partition, epoch, incarnation, TOUCH_S)


@asynccontextmanager
async def recovery_lock(pool: Pool, env: str, partition: int) -> AsyncGenerator[tuple[Connection, bool]]:
    """Try to be the one who recovers a partition; False where another is. Ends with its connection: only a hint."""
    async with pool.acquire() as conn:
        is_mine = bool(await conn.fetchval(_sql["try_lock"], env, partition))
        try:
            yield conn, is_mine
        finally:
            if is_mine and not conn.is_closed():
                await conn.execute(_sql["unlock"], env, partition)

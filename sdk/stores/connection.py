"""How the stores reach Postgres: a connection or a pool is always passed in; nothing here opens one.

A function that takes a ``Connection`` does all its work on it, and leaves transactions to the caller unless it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

"""Artifacts that go before the runs that name them: which ones may, and which ones did."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime

import msgspec

from ..moments import EPOCH
from .connection import Connection
from .payloads import PREFETCH
from .queries import load_queries

_sql = load_queries("dropped_artifacts")


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """``kept_ms``: for how long after the end of their runs artifacts were kept then."""

    dropped_at: datetime
    kept_ms: int


async def read_mark(conn: Connection, env: str) -> datetime:
    """Return until when the runs ended that were looked at."""
    found: datetime | None = await conn.fetchval(_sql["get_mark"], env)
    return found or EPOCH


async def move_mark(conn: Connection, env: str, until: datetime) -> None:
    await conn.execute(_sql["move_mark"], env, until)


async def window_end(conn: Connection, env: str, after: datetime, before: datetime, runs: int) -> datetime | None:
    """Return the end of the last of the next so many runs that ended between two times; None where none did."""
    found: datetime | None = await conn.fetchval(_sql["window_end"], env, after, before, runs)
    return found


async def payloads_of_window(conn: Connection, env: str, after: datetime, until: datetime) -> AsyncGenerator[bytes]:
    """Yield the payloads of runs that ended after a time and until another that refer to anything, as they are stored.

    In a transaction of the caller.
    """
    async for row in conn.cursor(_sql["payloads_of_window"], env, after, until, prefetch=PREFETCH):
        yield row[0]


async def young_payloads(conn: Connection, env: str, before: datetime) -> AsyncGenerator[bytes]:
    """Yield the payloads that name artifacts, of runs that have not ended before a time.

    In a transaction of the caller.
    """
    async for row in conn.cursor(_sql["young_payloads"], env, before, prefetch=PREFETCH):
        yield row[0]


async def stored_contents(conn: Connection, env: str, *, is_encoded: bool) -> AsyncGenerator[tuple[bytes, bytes]]:
    """Yield what may name artifacts among what is stored apart, with its digest. In a transaction of the caller.

    is_encoded: it cannot be searched, so that all is yielded.
    """
    name = "contents" if is_encoded else "contents_with_artifacts"
    async for row in conn.cursor(_sql[name], env, prefetch=PREFETCH):
        yield row[0], row[1]


async def referring_runs(conn: Connection, env: str, before: datetime, digests: Iterable[bytes]) -> dict[bytes, bool]:
    """Return those of the payloads that events refer to, and whether one of a run does that has not ended before."""
    addresses = [found.hex().encode() for found in digests]
    rows = await conn.fetch(_sql["referring"], env, before, addresses)
    return {bytes.fromhex(row["address"].decode()): row["is_young"] for row in rows}


async def stored_of(conn: Connection, env: str, digests: Iterable[bytes]) -> set[bytes]:
    """Return those of the digests that are stored."""
    return {row[0] for row in await conn.fetch(_sql["stored"], env, list(digests))}


async def drop_artifacts(conn: Connection, env: str, digests: Iterable[bytes], kept_ms: int) -> int:
    """Delete those of the digests that were given up and not used since; return how many."""
    return len(await conn.fetch(_sql["drop"], env, list(digests), kept_ms))


async def find_dropped(conn: Connection, env: str, digests: Iterable[bytes]) -> dict[bytes, Dropped]:
    """Return those of the digests that were dropped and not stored again."""
    rows = await conn.fetch(_sql["find_dropped"], env, list(digests))
    return {row["digest"]: Dropped(dropped_at=row["dropped_at"], kept_ms=row["kept_ms"]) for row in rows}


async def has_dropped(conn: Connection, env: str) -> bool:
    """Whether any artifact was ever dropped. Cheap."""
    return bool(await conn.fetchval(_sql["has_dropped"], env))

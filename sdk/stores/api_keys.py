"""API keys and sessions: rows without any secret in them. Readers do not find what has expired or was revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import asyncpg
import msgspec

from .connection import Connection
from .queries import load_queries

_sql = load_queries("api_keys")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it may be shown. ``id``: its beginning. ``used_at``: to five minutes, None before the first use."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    used_at: datetime | None


class LiveKey(NamedTuple):
    """What a request is checked against. ``is_stale``: its last use is to be noted again."""

    digest: bytes
    name: str
    scopes: list[str]
    expires_at: datetime | None
    is_stale: bool


class LiveSession(NamedTuple):
    key_id: str
    name: str
    scopes: list[str]
    expires_at: datetime


async def insert_key(
    conn: Connection,
    env: str,
    *,
    id: str,
    name: str,
    digest: bytes,
    scopes: Iterable[str],
    by: str | None,
    expires_at: datetime | None,
) -> ApiKey | None:
    """Keep a new key; None where one of this name is not revoked."""
    row = await conn.fetchrow(_sql["insert_key"], env, id, name, digest, list(scopes), by, expires_at)
    return None if row is None else _key(row)


async def list_keys(conn: Connection, env: str, *, is_all: bool) -> list[ApiKey]:
    """Return keys, the oldest first. is_all: also those that have expired or were revoked."""
    return [_key(row) for row in await conn.fetch(_sql["list_keys"], env, is_all)]


async def find_key(conn: Connection, env: str, word: str) -> ApiKey | None:
    """Return the key of this id, or the one of this name: the one that is in force, else the newest."""
    row = await conn.fetchrow(_sql["find_key"], env, word)
    return None if row is None else _key(row)


async def revoke_key(conn: Connection, env: str, id: str, by: str | None) -> ApiKey | None:
    """Return the key as it is now; None where it was revoked before."""
    row = await conn.fetchrow(_sql["revoke_key"], env, id, by)
    return None if row is None else _key(row)


async def live_key(conn: Connection, env: str, id: str) -> LiveKey | None:
    row = await conn.fetchrow(_sql["live_key"], env, id)
    return None if row is None else LiveKey(*row)


async def note_use(conn: Connection, env: str, id: str) -> None:
    """Idempotent within five minutes."""
    await conn.execute(_sql["note_use"], env, id)


async def open_session(conn: Connection, env: str, digest: bytes, key_id: str, lasts_s: float) -> datetime | None:
    """Return until when it lasts, at most as long as its key; None where the key is in force no more."""
    found: datetime | None = await conn.fetchval(_sql["open_session"], env, digest, key_id, lasts_s)
    return found


async def live_session(conn: Connection, env: str, digest: bytes) -> LiveSession | None:
    row = await conn.fetchrow(_sql["live_session"], env, digest)
    return None if row is None else LiveSession(*row)


async def close_session(conn: Connection, env: str, digest: bytes) -> None:
    """Idempotent."""
    await conn.execute(_sql["close_session"], env, digest)


async def forget_sessions(conn: Connection, env: str) -> None:
    """Remove those that have expired."""
    await conn.execute(_sql["forget_sessions"], env)


def _key(row: asyncpg.Record) -> ApiKey:
    fields = dict(row)
    fields["scopes"] = tuple(fields["scopes"])
    return ApiKey(**fields)

"""Cursors: how far the log has followed the outbox of a partition. The row is the fence between recorders.

A cursor is moved only by comparing it: who read it before someone else moved it changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from .connection import Connection
from .queries import load_queries

START = "0-0"

_sql = load_queries("cursors")


class Cursor(NamedTuple):
    """``entry_id``: the last recorded entry, ``0-0`` where the outbox is to be read from its beginning."""

    epoch: int
    partition_seq: int
    entry_id: str
    entry_digest: bytes


def entry_digest(fields: Mapping[bytes, bytes]) -> bytes:
    """Return the digest of an outbox entry as it stands in the stream, 16 bytes."""
    found = hashlib.blake2b(digest_size=16)
    for field, value in fields.items():
        found.update(b"%d %d " % (len(field), len(value)))
        found.update(field)
        found.update(value)
    return found.digest()


async def open_cursor(conn: Connection, env: str, partition: int) -> Cursor:
    """Return the cursor of a partition, made with epoch 1 where there is none. Idempotent."""
    return (await make_cursor(conn, env, partition))[0]


async def make_cursor(conn: Connection, env: str, partition: int) -> tuple[Cursor, bool]:
    """As ``open_cursor``, and whether there was none: of several who ask at once, one is told so."""
    cursor = await read_cursor(conn, env, partition)
    is_new = False
    if cursor is None:
        is_new = await conn.execute(_sql["open_cursor"], env, partition) == "INSERT 0 1"
        cursor = await read_cursor(conn, env, partition)
        assert cursor is not None
    return cursor, is_new


async def read_cursor(conn: Connection, env: str, partition: int) -> Cursor | None:
    row = await conn.fetchrow(_sql["read_cursor"], env, partition)
    return None if row is None else Cursor(*row)


async def read_cursors(conn: Connection, env: str) -> dict[int, Cursor]:
    """Return the cursors of an environment by partition; those that nobody has made yet are left out."""
    return {row["partition"]: Cursor(*row[1:]) for row in await conn.fetch(_sql["read_cursors"], env)}


async def move_cursor(conn: Connection, env: str, partition: int, old: Cursor, new: Cursor) -> bool:
    """Lock, compare and move in one statement; False where the cursor is not ``old`` any more.

    First statement of the transaction that appends: a second recorder waits here, and then finds it moved.
    """
    values = (*old, new.partition_seq, new.entry_id, new.entry_digest)
    return await conn.execute(_sql["move_cursor"], env, partition, *values) == "UPDATE 1"


async def raise_epoch(conn: Connection, env: str, partition: int, *, above: int = 0) -> int:
    """Begin a new epoch and return it: from its commit on, no recorder of an older one records anything.

    above: another epoch, in Redis, that it must be later than.
    """
    await open_cursor(conn, env, partition)
    return int(await conn.fetchval(_sql["raise_epoch"], env, partition, above))


async def restart_cursor(conn: Connection, env: str, partition: int, epoch: int) -> bool:
    """Let the next entry be the first of a new outbox; its partition sequence still goes on. False: another epoch."""
    return await conn.execute(_sql["restart_cursor"], env, partition, epoch) == "UPDATE 1"

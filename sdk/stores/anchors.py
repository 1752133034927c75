"""Anchors as they are stored: heads of runs by anchor, and the lines that others keep. Rows never change.

A draft is an anchor that waits for its signature, one in an environment.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

import anyio

from .connection import Connection
from .queries import load_queries

PAGE = 1_000
UNLOCK_S = 5.0

_sql = load_queries("anchors")


class MovedRun(NamedTuple):
    """A run whose log goes further than any anchor knows. ``anchored``: (seq, hash) of its last head that one has."""

    run_id: str
    anchored: tuple[int, bytes] | None


class Leaf(NamedTuple):
    """``position``: from 0. ``found``: the hash that the log has of that event now, None where it has none."""

    position: int
    run_id: str
    seq: int
    hash: bytes
    found: bytes | None = None


class AnchoredHead(NamedTuple):
    """The last head of a run that an anchor has."""

    seq: int
    anchor: int
    position: int


@asynccontextmanager
async def anchoring(conn: Connection, env: str) -> AsyncGenerator[None]:
    """Nobody else makes an anchor of the environment meanwhile. Around a transaction, not in one."""
    await conn.execute(_sql["lock_anchors"], env)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(UNLOCK_S):
            await conn.execute(_sql["unlock_anchors"], env)


async def moved_runs(conn: Connection, env: str) -> AsyncIterator[MovedRun]:
    """Yield the runs that have moved since they were anchored, by id. Cost: a look at every run of the environment."""
    after = ""
    while rows := await conn.fetch(_sql["moved_runs"], env, after, PAGE):
        for row in rows:
            is_known = row["anchored_seq"] is not None
            yield MovedRun(row["run_id"], (row["anchored_seq"], row["anchored_hash"]) if is_known else None)
        after = rows[-1]["run_id"]


async def hash_of_event(conn: Connection, run_id: str, seq: int) -> bytes | None:
    found: bytes | None = await conn.fetchval(_sql["hash_of_event"], run_id, seq)
    return found


async def insert_heads(conn: Connection, env: str, anchor: int, leaves: Sequence[Leaf]) -> None:
    await conn.execute(_sql["insert_heads"], env, anchor, *_columns(leaves))


async def insert_draft_heads(conn: Connection, env: str, leaves: Sequence[Leaf]) -> None:
    await conn.execute(_sql["insert_draft_heads"], env, *_columns(leaves))


async def insert_draft(conn: Connection, env: str, line: bytes) -> None:
    await conn.execute(_sql["insert_draft"], env, line)


async def read_draft(conn: Connection, env: str) -> bytes | None:
    """Return the line of the draft; None where there is none."""
    found: bytes | None = await conn.fetchval(_sql["read_draft"], env)
    return found


async def delete_draft(conn: Connection, env: str) -> None:
    await conn.execute(_sql["delete_draft"], env)
    await conn.execute(_sql["delete_draft_heads"], env)


async def keep_draft_heads(conn: Connection, env: str, anchor: int) -> None:
    """The leaves of the draft become those of this anchor."""
    await conn.execute(_sql["keep_draft_heads"], env, anchor)


async def insert_anchor(conn: Connection, env: str, number: int, at: datetime, heads: int, line: bytes) -> None:
    await conn.execute(_sql["insert_anchor"], env, number, at, heads, line)


async def last_anchor(conn: Connection, env: str) -> tuple[int, bytes] | None:
    """Return (number, line) of the last anchor, None before the first."""
    row = await conn.fetchrow(_sql["last_anchor"], env)
    return None if row is None else (row["number"], row["line"])


async def read_anchors(conn: Connection, env: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (number, line) of the anchors behind ``after``, in order."""
    while rows := await conn.fetch(_sql["read_anchors"], env, after, PAGE):
        for row in rows:
            yield row["number"], row["line"]
        after = rows[-1]["number"]


async def last_head(conn: Connection, env: str, run_id: str) -> AnchoredHead | None:
    """Return the last head of a run that an anchor has; None where there is none."""
    row = await conn.fetchrow(_sql["last_head_of_run"], env, run_id)
    return None if row is None else AnchoredHead(row["seq"], row["anchor"], row["position"])


async def leaves_of(conn: Connection, env: str, anchor: int, *, with_log: bool = False) -> AsyncIterator[Leaf]:
    """Yield the leaves of an anchor in order. with_log: and what the log has of each now."""
    position, query = 0, _sql["heads_with_log" if with_log else "heads_of_anchor"]
    while rows := await conn.fetch(query, env, anchor, position, PAGE):
        for row in rows:
            yield Leaf(**dict(row))
        position = rows[-1]["position"] + 1


def _columns(leaves: Sequence[Leaf]) -> tuple[list[str], list[int], list[bytes], list[int]]:
    """Runs, numbers of events, hashes and positions."""
    runs, seqs = [leaf.run_id for leaf in leaves], [leaf.seq for leaf in leaves]
    return runs, seqs, [leaf.hash for leaf in leaves], [leaf.position for leaf in leaves]

"""Workers as they announce themselves, and snapshots of Redis that someone asked for: both only inform."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from .connection import Connection
from .queries import load_queries

_sql = load_queries("workers")


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process. ``build``: version of its code. ``stopped_at``: an orderly stop."""

    consumer: str
    host: str
    pid: int
    build: str
    handlers: tuple[str, ...]
    queues: tuple[str, ...]
    started_at: datetime
    last_seen: datetime
    stopped_at: datetime | None = None


class PendingToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token of a ledger. ``place``: queue, worker, timer, parked ..."""

    node: str
    scope: str
    attempt: int
    place: str
    due_at: datetime | None = None


async def announce_workers(conn: Connection, env: str, workers: Sequence[WorkerRow]) -> None:
    """Insert or refresh. ``last_seen`` never goes back, and who has stopped stays stopped."""
    rows = [
        (env, w.consumer, w.host, w.pid, w.build, w.handlers, w.queues, w.started_at, w.last_seen, w.stopped_at)
        for w in workers
    ]
    await conn.executemany(_sql["announce_worker"], rows)


async def list_workers(conn: Connection, env: str, *, seen_since: datetime | None = None) -> list[WorkerRow]:
    """Return workers, last seen first. seen_since: only those that announced themselves since and did not stop."""
    rows = await conn.fetch(_sql["list_workers"], env, seen_since)
    workers: list[WorkerRow] = []
    for row in rows:
        fields: dict[str, Any] = dict(row)
        fields |= {"handlers": tuple(fields["handlers"]), "queues": tuple(fields["queues"])}
        workers.append(WorkerRow(**fields))
    return workers


async def forget_workers(conn: Connection, env: str, *, not_seen_since: datetime) -> None:
    """Delete workers that have been silent for so long."""
    await conn.execute(_sql["forget_workers"], env, not_seen_since)


async def snapshot_tokens(
    conn: Connection, env: str, run_id: str, tokens: Sequence[PendingToken], *, taken_at: datetime
) -> None:
    """Replace the snapshot of a run's ledger. One transaction."""
    rows = [(env, run_id, t.node, t.scope, t.attempt, t.place, t.due_at, taken_at) for t in tokens]
    async with conn.transaction():
        await conn.execute(_sql["clear_tokens"], run_id)
        await conn.executemany(_sql["insert_token"], rows)


async def snapshot_counter(
    conn: Connection, env: str, run_id: str, *, seq: int, counter: int, tokens: int, taken_at: datetime
) -> None:
    """Keep what the counter and the ledger of a run said after event ``seq``."""
    await conn.execute(_sql["insert_counter"], env, run_id, seq, counter, tokens, taken_at)

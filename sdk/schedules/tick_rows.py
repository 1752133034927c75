"""Ticks: one row for each time of a schedule that has come, or was asked for. A row moves on from the state it was in.

Whoever decides on ticks holds the lock of their schedule; whoever moves one says from which state, so that a second one
who does the same moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ..sealing.sealing import shown_text
from ..stores.connection import Connection
from ..stores.queries import load_queries
from .schedule import Overlap
from .tick import Origin, Tick, TickState

_sql = load_queries("ticks")


class Move(NamedTuple):
    """A tick's new state. ``run_id``: None where it has no run."""

    tick: Tick
    state: TickState
    run_id: str | None = None
    reason: str | None = None


async def insert_ticks(conn: Connection, env: str, ticks: Sequence[Tick], now: datetime) -> set[tuple[str, datetime]]:
    """Keep ticks, and return those that are new, as (schedule, at)."""
    columns = (
        [tick.schedule for tick in ticks],
        [tick.at for tick in ticks],
        [tick.origin for tick in ticks],
        [tick.overlap for tick in ticks],
        [tick.due_at for tick in ticks],
        [tick.state for tick in ticks],
        [tick.reason for tick in ticks],
        [tick.run_id for tick in ticks],
        [tick.by for tick in ticks],
    )
    rows = await conn.fetch(_sql["insert_ticks"], env, *columns, now)
    return {(row["schedule"], row["at"]) for row in rows}


async def fill_ticks(
    conn: Connection,
    env: str,
    schedule: str,
    times: Sequence[datetime],
    overlap: Overlap,
    by: str | None,
    now: datetime,
) -> list[datetime]:
    """Let ticks wait that have no row, or were skipped, or have failed; return them."""
    rows = await conn.fetch(_sql["fill_ticks"], env, schedule, times, overlap, by, now)
    return sorted(row["at"] for row in rows)


async def list_ticks(conn: Connection, env: str, schedule: str, limit: int) -> list[Tick]:
    """Return the ticks of a schedule, the latest first."""
    return [_tick(row) for row in await conn.fetch(_sql["list_ticks"], env, schedule, limit)]


async def get_tick(conn: Connection, env: str, schedule: str, at: datetime) -> Tick | None:
    row = await conn.fetchrow(_sql["get_tick"], env, schedule, at)
    return None if row is None else _tick(row)


async def drop_waiting(conn: Connection, env: str, schedule: str, reason: str, now: datetime) -> None:
    """Skip what the clock has brought and what has not been started."""
    await conn.execute(_sql["drop_waiting"], env, schedule, reason, now)


async def waiting_schedules(conn: Connection, env: str, now: datetime, *, after: str = "", limit: int) -> list[str]:
    """Return schedules with ticks that wait and are due, by id."""
    return [row[0] for row in await conn.fetch(_sql["waiting_schedules"], env, now, after, limit)]


async def close_ticks(conn: Connection, env: str, schedules: Sequence[str] | None, now: datetime) -> None:
    """Note which runs have ended, as far as the log knows. schedules: None for all."""
    if schedules is None:
        await conn.execute(_sql["close_all_ticks"], env, now)
    else:
        await conn.execute(_sql["close_ticks"], env, schedules, now)


async def running_ticks(conn: Connection, env: str, schedules: Sequence[str], limit: int) -> list[Tick]:
    """Return ticks whose runs have not ended, at most so many per schedule and lane, the latest; in order."""
    return [_tick(row) for row in await conn.fetch(_sql["running_ticks"], env, schedules, limit)]


async def due_ticks(conn: Connection, env: str, schedules: Sequence[str], now: datetime, limit: int) -> list[Tick]:
    """Return ticks that wait and are due, at most so many per schedule and lane, in order of their due times."""
    return [_tick(row) for row in await conn.fetch(_sql["due_ticks"], env, schedules, now, limit)]


async def move_ticks(
    conn: Connection, env: str, moves: Sequence[Move], now: datetime, *, since: TickState
) -> set[tuple[str, datetime]]:
    """Move ticks on that are in the state ``since``, and return them, as (schedule, at); others stay as they are."""
    if not moves:
        return set()
    columns = (
        [move.tick.schedule for move in moves],
        [move.tick.at for move in moves],
        [move.state for move in moves],
        [move.run_id for move in moves],
        [move.reason for move in moves],
    )
    rows = await conn.fetch(_sql["move_ticks"], env, *columns, now, since)
    return {(row["schedule"], row["at"]) for row in rows}


async def take_starting(
    conn: Connection, env: str, untouched_since: datetime, now: datetime, *, limit: int
) -> list[Tick]:
    """Return ticks whose start was begun and not finished, so long ago that nobody is at it; they count as touched."""
    return [_tick(row) for row in await conn.fetch(_sql["take_starting"], env, untouched_since, now, limit)]


async def mark_cancelled(conn: Connection, env: str, tick: Tick, now: datetime) -> None:
    """Note that the tick's run was told to end."""
    await conn.execute(_sql["mark_cancelled"], env, tick.schedule, tick.at, now)


async def trigger_of(conn: Connection, run_id: str) -> str | None:
    """Return why a run was started; None where there is none."""
    found: str | None = await conn.fetchval(_sql["find_trigger"], run_id)
    return found


async def prune_ticks(conn: Connection, env: str, before: datetime, limit: int) -> int:
    """Delete ticks that nothing comes of any more; return how many."""
    return int((await conn.execute(_sql["prune_ticks"], env, before, limit)).split()[-1])


def _tick(row: asyncpg.Record) -> Tick:
    return Tick(
        schedule=row["schedule"],
        at=row["at"],
        origin=Origin(row["origin"]),
        overlap=Overlap(row["overlap"]),
        due_at=row["due_at"],
        state=TickState(row["state"]),
        reason=None if row["reason"] is None else shown_text(row["reason"]),
        run_id=row["run_id"],
        by=row["by"],
        is_cancelled=row["is_cancelled"],
    )

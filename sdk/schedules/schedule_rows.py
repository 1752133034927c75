"""Schedules: what is to be started again and again. Pure reading and writing; who may change what stands elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from ..stores.connection import Connection
from ..stores.queries import load_queries
from .input import open_input, seal_input
from .schedule import CatchUp, KeptSchedule, Overlap, Schedule

_sql = load_queries("schedules")


async def insert_schedule(conn: Connection, env: str, kept: KeptSchedule) -> bool:
    """Keep a new schedule; False where there is one of this id."""
    values = (*_columns(kept.schedule), kept.is_paused, kept.next_tick, kept.created_at)
    return await conn.fetchval(_sql["insert_schedule"], env, *values) is not None


async def replace_schedule(
    conn: Connection, env: str, schedule: Schedule, next_tick: datetime | None, now: datetime
) -> None:
    """Put what is asked for in the place of what was; a pause stays."""
    await conn.execute(_sql["replace_schedule"], env, *_columns(schedule), next_tick, now)


async def get_schedule(conn: Connection, env: str, id: str, *, is_locked: bool = False) -> KeptSchedule | None:
    """Return a schedule. is_locked: until the end of the transaction nobody else changes it or plans its ticks."""
    row = await conn.fetchrow(_sql["lock_schedule" if is_locked else "get_schedule"], env, id)
    return None if row is None else _kept(row)


async def get_schedules(conn: Connection, env: str, ids: Sequence[str]) -> dict[str, Schedule]:
    """Return those of the schedules that there are, by id."""
    return {row["id"]: _kept(row).schedule for row in await conn.fetch(_sql["get_schedules"], env, ids)}


async def list_schedules(conn: Connection, env: str, *, limit: int = 100, after: str = "") -> list[KeptSchedule]:
    """Return schedules by id. after: the last id of the page before."""
    return [_kept(row) for row in await conn.fetch(_sql["list_schedules"], env, after, limit)]


async def pause_schedule(conn: Connection, env: str, id: str, by: str | None, note: str, now: datetime) -> None:
    await conn.execute(_sql["pause_schedule"], env, id, by, note, now)


async def resume_schedule(conn: Connection, env: str, id: str, next_tick: datetime | None, now: datetime) -> None:
    await conn.execute(_sql["resume_schedule"], env, id, next_tick, now)


async def delete_schedule(conn: Connection, env: str, id: str) -> bool:
    """Delete a schedule with its ticks; the runs stay. False where there is none."""
    return (await conn.execute(_sql["delete_schedule"], env, id)) != "DELETE 0"


async def lock_due_schedules(
    conn: Connection, env: str, now: datetime, limit: int, without: Sequence[str] = ()
) -> list[KeptSchedule]:
    """Return schedules whose next tick has come, and lock them; those that somebody else works on are left to him.

    without: ids of some that are left out.
    """
    return [_kept(row) for row in await conn.fetch(_sql["lock_due_schedules"], env, now, limit, list(without))]


async def lock_schedules(conn: Connection, env: str, ids: Sequence[str]) -> dict[str, Schedule]:
    """Return these schedules, and lock them; those that somebody else works on are left to him."""
    return {row["id"]: _kept(row).schedule for row in await conn.fetch(_sql["lock_schedules"], env, ids)}


async def move_next(conn: Connection, env: str, moves: Sequence[tuple[str, datetime | None]]) -> None:
    """Set the next tick of each."""
    await conn.execute(_sql["move_next"], env, [id for id, _ in moves], [at for _, at in moves])


async def first_next_tick(conn: Connection, env: str) -> datetime | None:
    """Return when the next tick of all comes; None where none does."""
    found: datetime | None = await conn.fetchval(_sql["first_next_tick"], env)
    return found


def _columns(schedule: Schedule) -> tuple[object, ...]:
    """The values of ``insert_schedule`` and ``replace_schedule``, in their order."""
    fields = msgspec.structs.asdict(schedule) | {"input": seal_input(schedule.input)}
    return tuple(fields[name] for name in Schedule.__struct_fields__)


def _kept(row: asyncpg.Record) -> KeptSchedule:
    fields: dict[str, Any] = {name: row[name] for name in Schedule.__struct_fields__}
    fields |= {
        "input": open_input(row["input"]),
        "catch_up": CatchUp(row["catch_up"]),
        "overlap": Overlap(row["overlap"]),
        "tags": tuple(row["tags"]),
    }
    rest = {name: row[name] for name in KeptSchedule.__struct_fields__ if name != "schedule"}
    return KeptSchedule(schedule=Schedule(**fields), **rest)

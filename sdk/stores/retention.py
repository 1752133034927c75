"""Retention: months of the log that can be taken out, and what goes with them. Nothing else deletes events.

A month is taken out as a whole table. What it held is remembered in ``log_archives``, and by its runs.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import anyio
import asyncpg
import msgspec

from .connection import Connection
from .queries import load_queries

PREFETCH = 500
LOCK_MS = 5_000
"""How long a month is waited for that somebody writes into."""
BRIEF_MS = 100
"""How long readers and writers of the log may have to wait for a month to go, at a time."""
TRIES_MAX = 60
PAUSE_S = 0.4
"""Between two tries: those who had to wait go first."""

_sql = load_queries("retention")
_NAME = re.compile(r"event_log_([0-9]{4})([0-9]{2})")


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the log. ``starts``, ``ends``: UTC, the end is not in it."""

    name: str
    starts: datetime
    ends: datetime


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a month holds; and how many of its runs are another environment's, have not ended, ended too late, or are
    needed by a run that goes on. ``restored_at``: when it was put back by hand.
    """

    events: int
    runs: int
    foreign_runs: int
    open_runs: int
    young_runs: int
    used_runs: int
    restored_at: datetime | None


def month_named(name: str) -> Month:
    """Raises ValueError where it is no name of a month's table."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no month of the log")
    year, month = int(match[1]), int(match[2])
    ends = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return Month(name=name, starts=datetime(year, month, 1, tzinfo=UTC), ends=ends)


async def list_months(conn: Connection) -> list[Month]:
    """Return the months that have a table, the oldest first."""
    return [month_named(row["name"]) for row in await conn.fetch(_sql["months"])]


async def look_at_month(conn: Connection, env: str, month: Month, before: datetime) -> Look:
    """before: by when its runs must have ended. Cost: all of its events."""
    row = await conn.fetchrow(_on(month, "look_at_month"), env, before, month.name)
    assert row is not None
    return Look(**dict(row))


async def count_events(conn: Connection, month: Month) -> int:
    return int(await conn.fetchval(_on(month, "count_events")))


async def has_event(conn: Connection, month: Month, run_id: str, seq: int, own_hash: bytes) -> bool:
    """Return whether a month holds exactly this event."""
    return bool(await conn.fetchval(_on(month, "has_event"), run_id, seq, own_hash))


async def month_runs(conn: Connection, month: Month) -> AsyncGenerator[str]:
    """Yield the rows of ``runs`` with events in a month, as JSON. In a transaction of the caller."""
    async for row in conn.cursor(_on(month, "month_runs"), prefetch=PREFETCH):
        yield row["content"]


async def month_events(conn: Connection, month: Month) -> AsyncGenerator[asyncpg.Record]:
    """Yield the events of a month with their payloads, by run and number. In a transaction of the caller."""
    async for row in conn.cursor(_on(month, "month_events"), prefetch=PREFETCH):
        yield row


async def take_out(conn: Connection, month: Month, look: Look, path: str | None, sha256: bytes | None) -> None:
    """Take a month out of the log, within a transaction that keeps it as it is.

    Nobody else is kept from the log but for the moment in which the table goes. Raises asyncpg.LockNotAvailableError
    where others read all the time, asyncpg.InsufficientPrivilegeError.
    """
    values = (month.name, month.starts, month.ends, look.events, look.runs, path, sha256)
    await conn.execute(_sql["note_archive"], *values)
    await conn.execute(_on(month, "mark_runs"))
    tables = [month.name]
    if await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", payloads_of(month)):
        tables.append(payloads_of(month))
    else:
        await conn.execute("DELETE FROM event_payloads WHERE at >= $1 AND at < $2", month.starts, month.ends)
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            async with conn.transaction():
                await conn.execute(f"SET LOCAL lock_timeout = {BRIEF_MS}")
                await conn.execute("LOCK TABLE ONLY event_log, ONLY event_payloads IN ACCESS EXCLUSIVE MODE")
                await conn.execute(f"DROP TABLE {', '.join(tables)}")
        except asyncpg.LockNotAvailableError:
            if not tries_left:
                raise
            await anyio.sleep(PAUSE_S)
        else:
            return


async def keep_month(conn: Connection, month: Month) -> None:
    """Let nothing be written into a month until the transaction ends: it is read as before, and others are written.

    Raises asyncpg.LockNotAvailableError.
    """
    await conn.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
    await conn.execute(f"LOCK TABLE {month.name} IN EXCLUSIVE MODE")


async def make_month(conn: Connection, month: Month) -> None:
    """Make the tables of a month, which are no part of the log yet.

    Raises asyncpg.DuplicateTableError where the log still has it.
    """
    for parent, child in _tables(month):
        await conn.execute(f"CREATE TABLE {child} (LIKE {parent} INCLUDING ALL)")


async def attach_month(conn: Connection, month: Month) -> None:
    """Let the tables be a part of the log: nobody is kept from it, however much is in them."""
    span = f"FROM ('{month.starts.isoformat()}') TO ('{month.ends.isoformat()}')"
    for parent, child in _tables(month):
        await conn.execute(f"ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES {span}")
    await conn.execute(
        f"CREATE TRIGGER event_log_refuse_truncate BEFORE TRUNCATE ON {month.name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _tables(month: Month) -> Sequence[tuple[str, str]]:
    return (("event_log", month.name), ("event_payloads", payloads_of(month)))


async def note_restore(conn: Connection, month: Month, run_ids: Sequence[str], runs: Sequence[str]) -> None:
    """Remember that a month was put back. run_ids: with events in it. runs: their rows as JSON."""
    for content in runs:
        await conn.execute(_sql["restore_run"], content)
    await conn.execute(_sql["note_restore"], month.name)
    await conn.execute(_sql["unmark_runs"], list(run_ids))


async def count_old_runs(conn: Connection, env: str, before: datetime) -> int:
    """Return how many runs ended before a time of whose events none is in the log any more."""
    return int(await conn.fetchval(_sql["count_old_runs"], env, before))


async def delete_old_runs(conn: Connection, env: str, before: datetime, limit: int) -> int:
    """Delete what is left of such runs, the oldest first, in one transaction; return how many."""
    async with conn.transaction():
        run_ids = [row[0] for row in await conn.fetch(_sql["old_runs"], env, before, limit)]
        if run_ids:
            for name in ("delete_commands", "delete_forgotten", "delete_drops", "delete_runs"):
                await conn.execute(_sql[name], run_ids)
            await conn.execute(_sql["delete_step_logs"], run_ids, env)
    return len(run_ids)


async def count_runs_to_forget(
    conn: Connection, env: str, before: datetime, *, workflow: str | None = None, without: Sequence[str] = ()
) -> int:
    """Return how many runs ``runs_to_forget`` would name."""
    return int(await conn.fetchval(_sql["count_runs_to_forget"], env, before, workflow, list(without)))


async def count_cache(conn: Connection, env: str, before: datetime | None) -> int:
    """Return how many cached outputs have expired, or were made before a time."""
    return int(await conn.fetchval(_sql["count_cache"], env, before))


async def sweep_cache(conn: Connection, env: str, before: datetime | None, limit: int) -> int:
    """Delete such outputs; return how many."""
    return int((await conn.execute(_sql["sweep_cache"], env, before, limit)).rpartition(" ")[2])


def payloads_of(month: Month) -> str:
    """Return the name of the table with the payloads of a month."""
    return month.name.replace("event_log", "event_payloads")


def _on(month: Month, name: str) -> str:
    """A query on the whole log, made one on a month."""
    return _sql[name].replace("event_log /*month*/", month_named(month.name).name)

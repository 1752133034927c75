"""Step logs in Postgres: lines by run, in the order of their times or in that in which they were stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import asyncpg

from ..step_lines import StepLine
from .connection import EPOCH, Connection, from_ms, to_ms
from .queries import load_queries

PAGE = 500
DROPPED_AT_ONCE = 10_000
_sql = load_queries("step_logs")


async def take_turn(conn: Connection, env: str, partition: int) -> bool:
    """Return whether nobody else stores lines of this partition now; to the end of the transaction nobody will."""
    return bool(await conn.fetchval(_sql["lock_partition"], env, partition))


async def insert_lines(conn: Connection, env: str, lines: Sequence[StepLine]) -> None:
    """Store lines; those that are stored already stay as they are."""
    await conn.execute(
        _sql["insert_lines"],
        env,
        [line.run_id for line in lines],
        [from_ms(line.at_ms) for line in lines],
        [line.source for line in lines],
        [line.number for line in lines],
        [line.node for line in lines],
        [line.scope for line in lines],
        [line.attempt for line in lines],
        [line.worker for line in lines],
        [line.level for line in lines],
        [line.text for line in lines],
        [line.fields for line in lines],
    )


async def drop_old_lines(conn: Connection, env: str, keep_s: float, limit: int = DROPPED_AT_ONCE) -> bool:
    """Delete lines that are older, at most so many. Return whether there may be more."""
    done = await conn.execute(_sql["drop_old"], env, keep_s, limit)
    return int(done.split()[-1]) == limit


async def last_id(conn: Connection, env: str, run_id: str) -> int:
    """Return the id of the line that was stored last; 0 where there is none."""
    return int(await conn.fetchval(_sql["last_id"], env, run_id))


async def lines_in_time(
    conn: Connection, env: str, run_id: str, *, node: str | None = None, up_to: int
) -> AsyncGenerator[StepLine]:
    """Yield the lines of a run by their times, as far as they were stored up to that id. Pages are read as needed."""
    place = (EPOCH, -1, 0)
    while True:
        rows = await conn.fetch(_sql["lines_in_time"], env, run_id, node, up_to, *place, PAGE)
        for row in rows:
            yield _line(row)
        if len(rows) < PAGE:
            return
        place = (rows[-1]["at"], rows[-1]["source"], rows[-1]["number"])


async def lines_after(
    conn: Connection, env: str, run_id: str, *, node: str | None = None, after: int
) -> tuple[list[StepLine], int]:
    """Return the next lines that were stored after that id, and the last id among them."""
    rows = await conn.fetch(_sql["lines_after"], env, run_id, node, after, PAGE)
    return [_line(row) for row in rows], rows[-1]["id"] if rows else after


def _line(row: asyncpg.Record) -> StepLine:
    return StepLine(
        run_id=row["run_id"],
        node=row["node"],
        scope=row["scope"],
        attempt=row["attempt"],
        worker=row["worker"],
        source=row["source"],
        number=row["number"],
        at_ms=to_ms(row["at"]),
        level=row["level"],
        text=row["text"],
        fields=row["fields"],
    )

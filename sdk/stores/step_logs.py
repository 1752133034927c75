"""Step logs in Postgres: lines by run, in the order of their times or in that in which they were stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence

import asyncpg

from ..logs.step_lines import StepLine
from ..moments import EPOCH, from_ms, to_ms
from .connection import Connection
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


async def lines_of_runs(
    conn: Connection, env: str, after: Mapping[str, int], *, limit: int = PAGE
) -> dict[str, list[tuple[int, StepLine]]]:
    """Return what several runs have said, with its ids, in the order in which it was stored; at most so much of each.

    after: by run, the id of the line behind which to begin. Runs that have said nothing since are left out.
    """
    found: dict[str, list[tuple[int, StepLine]]] = {}
    for row in await conn.fetch(_sql["lines_of_runs"], env, list(after), list(after.values()), limit):
        found.setdefault(row["run_id"], []).append((row["id"], _line(row)))
    return found


async def last_numbers(conn: Connection, env: str, run_id: str, *, up_to: int) -> dict[int, int]:
    """Return for each source of a run the number of its last line among those that were stored up to that id."""
    rows = await conn.fetch(_sql["last_numbers"], env, run_id, up_to)
    return {row["source"]: row["number"] for row in rows}


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

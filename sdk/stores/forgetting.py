"""Forgetting: everything that a run has said and made is emptied where it stands in Postgres; its events stand.

What remains of a forgotten run is its skeleton: the facts of its events, the digests of its payloads, the chain over
both, and that it was forgotten, by whom and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from ..base_terms import empty_terms
from ..events import decode_facts
from .command_bodies import empty_body
from .connection import Connection
from .errors import NotEnded, UnknownRun
from .queries import load_queries

START = "start"

_sql = load_queries("forgetting")


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """That a run was forgotten. ``by``: None where unknown."""

    run_id: str
    forgotten_at: datetime
    by: str | None
    reason: str


class Relative(NamedTuple):
    """A run that may hold copies of what another one has made. ``relation``: goes_on_from_it or parent."""

    run_id: str
    relation: str


async def read_forgotten(conn: Connection, run_ids: Sequence[str]) -> dict[str, Forgotten]:
    """Return those of the runs that were forgotten, by run."""
    rows = await conn.fetch(_sql["get_forgotten"], list(run_ids))
    return {row["run_id"]: Forgotten(**dict(row)) for row in rows}


async def descendants_of(conn: Connection, run_ids: Sequence[str]) -> dict[str, bool]:
    """Return the recorded runs that are steps of these, of their steps and so on; and whether each has ended."""
    rows, known = await conn.fetch(_sql["descendants"], list(run_ids)), frozenset(run_ids)
    return {row["run_id"]: row["has_ended"] for row in rows if row["run_id"] not in known}


async def relatives_of(conn: Connection, run_ids: Sequence[str]) -> list[Relative]:
    """Return the runs beside these that may hold copies of what they have made."""
    return [Relative(*row) for row in await conn.fetch(_sql["relatives"], list(run_ids))]


async def runs_to_forget(
    conn: Connection,
    env: str,
    before: datetime,
    *,
    workflow: str | None = None,
    tag: str | None = None,
    without: Sequence[str] = (),
    limit: int,
) -> list[str]:
    """Return runs that ended before a time and were not forgotten yet, the oldest first.

    without: workflows whose runs are left out. Left out are those that another run is about to go on from.
    """
    rows = await conn.fetch(_sql["runs_to_forget"], env, before, workflow, tag, limit, list(without))
    return [row[0] for row in rows]


async def payloads_of_run(conn: Connection, env: str, run_id: str) -> list[bytes]:
    """Return the payloads of a run's events and what it has put into the cache, as they are stored."""
    return [row[0] for row in await conn.fetch(_sql["payloads_of_run"], run_id, env)]


async def cache_keys(conn: Connection, run_id: str) -> list[str]:
    """Return the keys under which outputs of a run were kept or taken, as its log says: others may have them by now."""
    rows = await conn.fetch(_sql["cache_facts"], run_id)
    found = [decode_facts(row[0]).data.get("cache") for row in rows]
    return [key for key in dict.fromkeys(found) if isinstance(key, str)]


async def count_payloads(conn: Connection, run_ids: Sequence[str]) -> int:
    """Return how many events of these runs still have their payload."""
    return int(await conn.fetchval(_sql["count_payloads"], list(run_ids)))


async def check_ended(conn: Connection, env: str, run_ids: Sequence[str]) -> None:
    """Raises UnknownRun; NotEnded, also where another run is about to go on from one. Waits for nobody."""
    rows = await conn.fetch(_sql["which_ended"], list(run_ids), env)
    has_ended = {row["run_id"]: row["has_ended"] for row in rows}
    for run_id in run_ids:
        if run_id not in has_ended:
            raise UnknownRun(run_id)
        if not has_ended[run_id]:
            raise NotEnded(run_id)


async def lock_ended(conn: Connection, env: str, run_id: str) -> None:
    """Keep the row of an ended run, and lines of steps from being stored, until the transaction ends.

    Raises what ``check_ended`` does.
    """
    partition = await conn.fetchval(_sql["lock_run"], run_id, env)
    await check_ended(conn, env, [run_id])
    await conn.execute(_sql["lock_lines"], env, partition)


async def empty_run(conn: Connection, env: str, run_id: str, *, by: str | None, reason: str) -> int:
    """Empty an ended run everywhere but in ``payloads``; return how many events had a payload.

    Within the transaction of the caller, who has locked the run. Idempotent: who asked first is remembered.
    """
    await conn.execute(_sql["remember"], env, run_id, by, reason)
    emptied = _count(await conn.execute(_sql["empty_events"], run_id))
    await conn.execute(_sql["empty_cache"], run_id, env)
    await conn.execute(_sql["empty_step_logs"], run_id, env)
    await conn.execute(_sql["empty_deliveries"], run_id, env)
    await conn.execute(_sql["empty_drops"], run_id)
    for row in await conn.fetch(_sql["bodies"], run_id):
        body = b"null" if row["type"] == START else empty_body(row["body"])
        terms = empty_terms(row["base_terms"])
        if (body, terms) != (row["body"], row["base_terms"]):
            await conn.execute(_sql["empty_body"], run_id, row["number"], body, terms)
    await empty_errors(conn, env, run_id)
    return emptied


async def empty_errors(conn: Connection, env: str, run_id: str | None = None) -> None:
    """Take the texts from the errors in the projections of forgotten runs; of all where ``run_id`` is None."""
    for name in ("empty_run_errors", "empty_step_errors", "empty_letter_errors"):
        await conn.execute(_sql[name], env, run_id)


def _count(answer: str) -> int:
    """How many rows a statement has changed: ``DELETE 3``."""
    return int(answer.rpartition(" ")[2])

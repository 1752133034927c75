"""The event log, read: events of a run in order, and whether its chain holds. Nothing here writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from ..events import GENESIS, Facts, RecordedEvent, chain_hash, decode_facts, digest
from ..moments import to_ms
from ..sealing.payload_terms import PayloadTooLarge
from ..slices import Slices
from .connection import Connection, Pool
from .errors import LogArchived
from .queries import load_queries

SEQ_MAX = 2**63 - 1
PREFETCH = 1_000
FIRST_SPAN, LAST_SPAN = timedelta(seconds=1), timedelta(days=365)
RESULTS_AT_ONCE = 50
"""Of chunks of maps, which may have as much as one payload."""

_sql = load_queries("log")


class ChainBreak(msgspec.Struct, frozen=True, kw_only=True):
    """The first event of a run at which the log does not hold together. reason: what is wrong, for people."""

    run_id: str
    seq: int
    reason: str


class ChainRow(NamedTuple):
    """One event as the chain covers it. ``payload``: None where there is none, or where it was emptied."""

    seq: int
    at_ms: int
    facts: bytes
    payload: bytes | None
    payload_digest: bytes | None
    prev_hash: bytes
    hash: bytes


class Archived(NamedTuple):
    """Events of a run were moved out of the log. ``path``: of the archive; None where there is none."""

    at: datetime
    path: str | None


async def find_archive(conn: Connection, run_id: str) -> Archived | None:
    """Return where the events of a run are that were moved out of the log; None where all stand there."""
    row = await conn.fetchrow(_sql["find_archive"], run_id)
    return None if row is None else Archived(row["archived_at"], row["path"])


async def check_archived(conn: Connection, run_id: str) -> None:
    """Raises LogArchived where events of a run were moved out of the log."""
    found = await find_archive(conn, run_id)
    if found is not None:
        raise LogArchived(run_id, found.at, found.path)


async def read_events(conn: Connection, run_id: str, upto: int | None = None, *, after: int = 0) -> list[RecordedEvent]:
    """Return the events of a run in order: those after ``after``, up to and with ``upto``; empty for an unknown run.

    A payload reference stays a reference (``payloads.resolve``). Raises msgspec.ValidationError where facts were
    written by newer code, LogArchived where events of the run were moved out of the log.
    """
    rows = await conn.fetch(_sql["read_events"], run_id, after, SEQ_MAX if upto is None else upto)
    if upto is None or not rows or rows[0]["seq"] != after + 1:
        await check_archived(conn, run_id)
    return [_event(run_id, row) for row in rows]


async def find_events(
    conn: Connection, run_id: str, *, after: int, limit: int, step: str | None, kind: str | None
) -> list[RecordedEvent]:
    """Return events of a run behind ``after``, in order: of a step, of a type or of a family of types (``step.*``).

    Cost: the rest of the run's log. Raises what ``read_events`` does.
    """
    await check_archived(conn, run_id)
    return [_event(run_id, row) for row in await conn.fetch(_sql["find_events"], run_id, after, step, kind, limit)]


async def read_events_of_runs(conn: Connection, run_ids: Sequence[str]) -> dict[str, list[RecordedEvent]]:
    """Return all events of some runs, in order, by run; the caller sees to it that they fit into memory.

    Raises msgspec.ValidationError as ``read_events`` does.
    """
    found: dict[str, list[RecordedEvent]] = {run_id: [] for run_id in run_ids}
    for row in await conn.fetch(_sql["read_events_of_runs"], list(run_ids)):
        found[row["run_id"]].append(_event(row["run_id"], row))
    return found


async def read_events_at(conn: Connection, spans: Mapping[str, tuple[int, int]]) -> list[RecordedEvent]:
    """Return events of several runs, without payloads and in no order. spans: by run, the first and the last."""
    firsts, lasts = [first for first, _ in spans.values()], [last for _, last in spans.values()]
    rows = await conn.fetch(_sql["read_spans"], list(spans), firsts, lasts)
    return [_event(row["run_id"], row) for row in rows]


async def read_partition(
    conn: Connection, env: str, partition: int, since: datetime, until: datetime
) -> list[RecordedEvent]:
    """Return what the runs of one partition have done from a moment to another, without payloads and in no order."""
    rows = await conn.fetch(_sql["read_partition"], env, partition, since, until)
    return [_event(row["run_id"], row) for row in rows]


async def stream_window(
    pool: Pool, env: str, since: datetime, until: datetime, *, limit: int = PREFETCH
) -> AsyncIterator[list[RecordedEvent]]:
    """Yield what all runs have done from a moment to another, without payloads, in the order of its times.

    Some at a time, without a connection in between. The log is found by its times, but not ordered by them: it is read
    in spans of time that grow and shrink so that about ``limit`` events are in one, and nothing more is sorted at once.
    """
    place: tuple[datetime, str, int] = (since, "", 0)
    span = FIRST_SPAN
    while place[0] < until:
        end = min(until, place[0] + span)
        async with pool.acquire() as conn:
            rows = await conn.fetch(_sql["read_window"], env, *place, end, limit)
        if rows:
            yield [_event(row["run_id"], row) for row in rows]
        if len(rows) == limit:
            place, span = (rows[-1]["at"], rows[-1]["run_id"], rows[-1]["seq"]), max(FIRST_SPAN, span / 2)
        else:
            place, span = (end, "", 0), min(LAST_SPAN, span * 2)


async def last_events(conn: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of the last event of each run; those that the log does not have are left out."""
    return {row["run_id"]: row["seq"] for row in await conn.fetch(_sql["heads"], list(run_ids))}


async def read_halts(conn: Connection, run_ids: Sequence[str]) -> dict[str, str]:
    """Return why each run was halted the last time, by the reason in its log; those never halted are left out."""
    rows = await conn.fetch(_sql["read_halts"], list(run_ids))
    return {row["run_id"]: decode_facts(row["facts"]).reason for row in rows}


async def read_results(
    conn: Connection, run_id: str, nodes: Sequence[str], scope: str, bytes_max: int
) -> dict[int, bytes]:
    """Return the results of chunks of a map as they were told, by the chunk's number. nodes: the map and its collector.

    Raises PayloadTooLarge where there is more than ``bytes_max``.
    """
    found: dict[int, bytes] = {}
    size = 0
    async with conn.transaction(readonly=True):
        async for row in conn.cursor(_sql["read_results"], run_id, list(nodes), scope, prefetch=RESULTS_AT_ONCE):
            chunk = decode_facts(row["facts"]).data.get("chunk")
            if isinstance(chunk, int):
                found[chunk] = row["payload"]
                size += len(found[chunk])
            if size > bytes_max:
                raise PayloadTooLarge(size, bytes_max)
    return found


async def read_moves(conn: Connection, run_id: str) -> list[tuple[int, Facts]]:
    """Return (seq, facts) of the events that say which IR the run has from there on; the first is its beginning.

    Raises LogArchived.
    """
    rows = await conn.fetch(_sql["read_moves"], run_id)
    if not rows or rows[0]["seq"] != 1:
        await check_archived(conn, run_id)
    return [(row["seq"], decode_facts(row["facts"])) for row in rows]


async def stream_events(conn: Connection, run_id: str) -> AsyncIterator[RecordedEvent]:
    """Yield the events of a run in order, a thousand at a time, for runs that do not fit into memory. In slices.

    Raises LogArchived.
    """
    after, slices = 0, Slices()
    while rows := await conn.fetch(_sql["read_events"], run_id, after, after + PREFETCH):
        if rows[0]["seq"] != after + 1:
            await check_archived(conn, run_id)
        for row in rows:
            await slices.breathe()
            yield _event(run_id, row)
        after = rows[-1]["seq"]
    await check_archived(conn, run_id)


async def stream_chain(conn: Connection, run_id: str, after: int = 0) -> AsyncIterator[ChainRow]:
    """Yield the rows of a run behind event ``after`` in order, a thousand at a time; the connection is free between.

    In slices. Raises LogArchived.
    """
    slices = Slices()
    while rows := await conn.fetch(_sql["read_chain_part"], run_id, after, PREFETCH):
        for row in rows:
            await slices.breathe()
            yield ChainRow(
                row["seq"],
                to_ms(row["at"]),
                row["facts"],
                row["payload"],
                row["payload_digest"],
                row["prev_hash"],
                row["hash"],
            )
        after = rows[-1]["seq"]
    await check_archived(conn, run_id)


async def read_end(conn: Connection, run_id: str) -> tuple[int, bytes] | None:
    """Return (seq, hash) of the event that a run is known to end with, None where it has not ended."""
    row = await conn.fetchrow(_sql["read_end"], run_id)
    return None if row is None or row["last_seq"] is None else (row["last_seq"], row["last_hash"])


async def count_emptied(conn: Connection, run_id: str) -> int:
    """Return how many events of a run have lost their payload to retention or privacy."""
    return int(await conn.fetchval(_sql["count_emptied"], run_id))


async def verify_chain(conn: Connection, run_id: str) -> ChainBreak | None:
    """Return the first break of a run's chain, None where it holds.

    Checked: no gap from 1, every hash over the row before it, the columns against the facts, payloads that still stand
    against their digests, and the end against what the projection remembers of it. Reads in batches, in a transaction.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        found = await follow_chain(conn, run_id, 0, GENESIS)
    return found if isinstance(found, ChainBreak) else None


async def follow_chain(conn: Connection, run_id: str, seq: int, head: bytes) -> ChainBreak | tuple[int, bytes]:
    """As ``verify_chain``, from event ``seq`` on, whose hash is ``head``; return (seq, hash) of the last event.

    In a transaction of the caller's that sees one moment. Raises LogArchived.
    """
    previous, slices = head, Slices()
    async for row in conn.cursor(_sql["read_chain"], run_id, seq, prefetch=PREFETCH):
        await slices.breathe()
        seq += 1
        if row["seq"] != seq:
            await check_archived(conn, run_id)
            return ChainBreak(run_id=run_id, seq=seq, reason=f"missing: the next event is {row['seq']}")
        if reason := _fault(run_id, row, previous):
            return ChainBreak(run_id=run_id, seq=seq, reason=reason)
        previous = row["hash"]
    end = await read_end(conn, run_id)
    if end is not None and end != (seq, previous):
        await check_archived(conn, run_id)
        return ChainBreak(run_id=run_id, seq=seq + 1, reason=f"the run is known to end with event {end[0]}")
    return seq, previous


def _event(run_id: str, row: asyncpg.Record) -> RecordedEvent:
    return RecordedEvent(
        run_id=run_id, seq=row["seq"], at_ms=to_ms(row["at"]), facts=decode_facts(row["facts"]), payload=row["payload"]
    )


def _fault(run_id: str, row: asyncpg.Record, previous: bytes) -> str:
    """What is wrong with one row, "" where nothing is."""
    payload_digest, facts = row["payload_digest"], row["facts"]
    if row["prev_hash"] != previous:
        return "prev_hash is not the hash of the event before"
    if row["hash"] != chain_hash(previous, run_id, row["seq"], to_ms(row["at"]), facts, payload_digest):
        return "hash does not fit the row"
    if row["payload"] is not None and digest(row["payload"]) != payload_digest:
        return "the payload is not the one of its digest"
    try:
        said: Facts = decode_facts(facts)
    except msgspec.MsgspecError as error:
        return f"the facts cannot be read: {error}"
    columns = (row["type"], row["node"], row["scope"], row["attempt"], row["worker"])
    if columns != (said.type, said.node, said.scope, said.attempt, said.worker):
        return "the columns do not say what the facts say"
    return ""

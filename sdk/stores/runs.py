"""Runs as people ask for them: read from the projections, with accepted but unrecorded runs as PENDING.

A run is WAITING when it is RUNNING and nothing but waits is left: a filter by RUNNING finds those too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from ..events import ErrorInfo
from ..moments import from_ms, to_ms
from ..sealing.sealing import read_error
from ..slices import Slices
from .commands import run_id_of_key
from .connection import Connection
from .errors import BadFilter, UnknownRun
from .queries import load_queries
from .status import RunStatus, StepStatus, run_status

LIMIT_MAX = 1_000
STEPS_AT_ONCE = 1_000
WORKFLOWS_MAX = 100
WITH_TAG = "tags @> ARRAY[{}::text] AND tags <> '{{}}'"
"""The second condition lets the partial index be used."""
ARCHIVED = "run_id IN (SELECT r.run_id FROM runs r WHERE r.env = $1 AND r.archived_at IS NOT NULL)"
_AFTER_ALL = "\U0010ffff"

_sql = load_queries("runs")


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``output_seq``: the event whose payload is the output. ``drain_reason``: why its tokens are removed.

    ``is_halted``: stopped for repair. ``started_at`` is None while it is PENDING.
    """

    run_id: str
    env: str
    partition: int
    workflow: str
    version: int
    ir_hash: str
    status: RunStatus
    trigger: str
    base_run_id: str | None
    by: str | None
    tags: tuple[str, ...]
    output_seq: int | None
    error: ErrorInfo | None
    drain_reason: str | None
    is_halted: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a node in a scope. ``due_at``: when its wait or backoff ends by itself. ``ms``: of the handler."""

    node: str
    scope: str
    attempt: int
    status: StepStatus
    reason: str | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    ms: int | None
    error: ErrorInfo | None
    output_seq: int | None


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: what to pass as cursor for the page after this; None on the last one."""

    runs: list[RunRow]
    next: str | None


class RunStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Executions by status; durations in ms."""

    executions: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int
    running: int
    waiting: int
    retrying: int
    retries: int
    handler_ms: int
    elapsed_ms: int


async def get_run(conn: Connection, run_id: str) -> RunRow:
    """Raises UnknownRun."""
    row = await conn.fetchrow(_sql["get_run"], run_id)
    if row is None:
        raise UnknownRun(run_id)
    return _run(row)


async def unknown_runs(conn: Connection, env: str, run_ids: Sequence[str]) -> list[str]:
    """Return those of the runs that an environment does not have, in their order."""
    known = {row["run_id"] for row in await conn.fetch(_sql["known_runs"], env, list(run_ids))}
    return [run_id for run_id in run_ids if run_id not in known]


async def archived_runs(conn: Connection, env: str, run_ids: Sequence[str]) -> list[str]:
    """Return those of the runs with events that were moved out of the log, in their order."""
    found = {row["run_id"] for row in await conn.fetch(_sql["archived_runs"], env, list(run_ids))}
    return [run_id for run_id in run_ids if run_id in found]


async def select_runs(
    conn: Connection,
    env: str,
    *,
    workflow: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
) -> AsyncIterator[str]:
    """Yield the ids of all runs that ``list_runs`` would list, the newest first, a page at a time. Raises BadFilter."""
    cursor: str | None = None
    while True:
        page = await list_runs(conn, env, workflow=workflow, status=status, since=since, limit=LIMIT_MAX, cursor=cursor)
        for run in page.runs:
            yield run.run_id
        cursor = page.next
        if cursor is None:
            return


async def list_runs(
    conn: Connection,
    env: str,
    *,
    workflow: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    tag: str | None = None,
    parent: str | None = None,
    search: str | None = None,
    is_archived: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> RunPage:
    """Return one page of runs, newest first. status: any accepted spelling. limit: 1 to 1,000.

    parent: only runs that are steps of this one. search: only runs whose id begins so, whose idempotency key or one of
    whose tags is this, or whose workflow has it in its id or name. is_archived: only runs with events that were moved
    out of the log. Raises BadFilter.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise BadFilter("limit", f"{limit} is not between 1 and {LIMIT_MAX}")
    values: list[object] = [env]
    conditions = ["env = $1"]

    def add(condition: str, *given: object) -> None:
        places = [f"${len(values) + n}" for n in range(1, len(given) + 1)]
        conditions.append(condition.format(*places))
        values.extend(given)

    if workflow is not None:
        add("workflow = {}", workflow)
    if status is not None:
        wanted = run_status(status)
        is_waiting = wanted is RunStatus.WAITING
        add("status = {}", str(RunStatus.RUNNING if is_waiting else wanted))
        conditions += ["is_waiting"] if is_waiting else []
    if since is not None:
        add("created_at >= {}", since)
    if tag is not None:
        add(WITH_TAG, tag)
    if parent is not None:
        add("run_id IN (SELECT c.run_id FROM children c WHERE c.parent_run_id = {})", parent)
    if is_archived:
        conditions.append(ARCHIVED)
    if cursor is not None:
        add("(created_at, run_id) < ({}, {})", *_read_cursor(cursor))
    order = f"ORDER BY created_at DESC, run_id DESC LIMIT {limit + 1}"
    branches: list[str] = []
    for condition, *given in [("true",)] if search is None else await _search(conn, env, search):
        kept = len(conditions)
        add(condition, *given)
        branches.append(f"({_sql['list_runs']} WHERE {' AND '.join(conditions)} {order})")
        del conditions[kept:]
    query = branches[0] if search is None else f"{' UNION '.join(branches)} {order}"
    rows = [_run(row) for row in await conn.fetch(query, *values)]
    return RunPage(runs=rows[:limit], next=_make_cursor(rows[limit - 1]) if len(rows) > limit else None)


async def _search(conn: Connection, env: str, words: str) -> list[tuple[Any, ...]]:
    """Return conditions that are found each by an index of its own; together they find a run by what is known of it."""
    words = words.strip().replace("\x00", "")
    begins = {words, f"run_{words.upper()}"}
    found: list[tuple[Any, ...]] = [("run_id >= {} AND run_id < {}", begin, begin + _AFTER_ALL) for begin in begins]
    found.append(("run_id = {}", run_id_of_key(env, words)))
    found.append((WITH_TAG, words))
    workflows = [row[0] for row in await conn.fetch(_sql["find_workflows"], env, words, WORKFLOWS_MAX)]
    return [*found, ("workflow = ANY({}::text[])", workflows)] if workflows else found


async def list_steps(conn: Connection, run_id: str) -> list[StepRow]:
    """Return the executions of a run in the order in which they began. Nodes that never began are not among them.

    Read in slices: there may be a hundred thousand.
    """
    slices, found = Slices(), list[StepRow]()
    for row in await conn.fetch(_sql["list_steps"], run_id):
        await slices.breathe()
        found.append(_step(row))
    return found


async def stream_steps(conn: Connection, run_id: str) -> AsyncIterator[StepRow]:
    """Yield the executions of a run, a few at a time and in no order; in a transaction."""
    async for row in conn.cursor(_sql["stream_steps"], run_id, prefetch=STEPS_AT_ONCE):
        yield _step(row)


async def is_step_over(conn: Connection, run_id: str, node: str) -> bool:
    """Return whether the last attempt of a step has ended and none follows; of one outside of loops and maps."""
    return bool(await conn.fetchval(_sql["is_step_over"], run_id, node))


async def get_statistics(conn: Connection, run_id: str) -> RunStatistics:
    """Raises UnknownRun where the run is not recorded."""
    row = await conn.fetchrow(_sql["run_statistics"], run_id)
    if row is None:
        raise UnknownRun(run_id)
    return RunStatistics(**dict(row))


async def final_runs(conn: Connection, run_ids: list[str]) -> set[str]:
    """Return those of the runs whose final event is recorded."""
    return {row[0] for row in await conn.fetch(_sql["final_runs"], run_ids)}


class StuckRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run in which nothing has happened for a while though nothing in it waits."""

    run_id: str
    workflow: str
    partition: int
    ir_hash: str
    last_event_at: datetime
    last_seq: int


async def stuck_runs(
    conn: Connection,
    env: str,
    *,
    since: datetime,
    by_ir: Mapping[str, datetime],
    alive_since: datetime,
    limit: int = 100,
) -> list[StuckRun]:
    """Return runs whose last event is older than ``since``, or than ``by_ir`` says of their IR, newest first.

    Runs that only wait are not among them, nor those with a step in the hands of a worker that was seen since
    ``alive_since``.
    """
    values = (env, since, list(by_ir), list(by_ir.values()), alive_since, limit)
    return [StuckRun(**dict(row)) for row in await conn.fetch(_sql["stuck_runs"], *values)]


class HaltedRun(NamedTuple):
    """A run that goes no further before somebody has looked at it."""

    run_id: str
    workflow: str
    since: datetime


async def halted_runs(conn: Connection, env: str, limit: int = 100) -> list[HaltedRun]:
    """Return unfinished runs that are halted, newest first."""
    return [HaltedRun(*row) for row in await conn.fetch(_sql["halted_runs"], env, limit)]


class Ends(NamedTuple):
    """Of the latest runs: how many have ended, by themselves or by their time, and how many of these not well."""

    ended: int = 0
    failed: int = 0


async def count_ends(conn: Connection, env: str, within_s: int, limit: int = 10_000) -> Ends:
    """Count the ends of the runs that were created within so many seconds, of the newest ``limit`` of them.

    Who was cancelled is left out. Cost: an index is read from its end.
    """
    row = await conn.fetchrow(_sql["count_ends"], env, within_s, limit)
    assert row is not None
    return Ends(*row)


async def unfinished_irs(conn: Connection, env: str, limit: int) -> list[str]:
    """Return hashes of the IRs whose runs have not ended."""
    return [row[0] for row in await conn.fetch(_sql["unfinished_irs"], env, limit)]


class UnfinishedRun(NamedTuple):
    """A run whose final event is not in the log. ``is_halted``: and that the log says to go no further."""

    run_id: str
    ir_hash: str
    is_halted: bool = False


async def open_runs(conn: Connection, env: str, run_ids: list[str]) -> list[UnfinishedRun]:
    """Return those of the runs that are recorded and have not ended."""
    return [UnfinishedRun(*row) for row in await conn.fetch(_sql["open_runs"], env, run_ids)]


async def count_unfinished(conn: Connection, env: str, partition: int) -> int:
    """Return how many recorded runs of a partition have not ended."""
    return int(await conn.fetchval(_sql["count_unfinished"], env, partition))


async def unfinished_runs(
    conn: Connection, env: str, partition: int, page: int = 1_000
) -> AsyncIterator[list[UnfinishedRun]]:
    """Yield the recorded runs of a partition that have not ended, a page at a time. Cost: theirs, not the history's."""
    for status in RunStatus:
        if status.is_final or status is RunStatus.WAITING:  # which the log calls RUNNING
            continue
        at: datetime | None = None
        run_id = ""
        while True:
            rows = await conn.fetch(_sql["unfinished_runs"], env, partition, str(status), at, run_id, page)
            if rows:
                yield [UnfinishedRun(row["run_id"], row["ir_hash"], row["is_halted"]) for row in rows]
                at, run_id = rows[-1]["created_at"], rows[-1]["run_id"]
            if len(rows) < page:
                break


async def is_recorded(conn: Connection, run_id: str) -> bool:
    """Return whether the log has anything of a run."""
    return bool(await conn.fetchval(_sql["is_recorded"], run_id))


async def open_runs_by_status(conn: Connection, env: str) -> dict[str, int]:
    """Return the number of recorded runs by status; the COMPLETED ones are not counted."""
    return {row["status"]: row["runs"] for row in await conn.fetch(_sql["runs_by_status"], env)}


def _run(row: asyncpg.Record) -> RunRow:
    fields: dict[str, Any] = dict(row)
    is_waiting = fields.pop("is_waiting")
    fields["status"] = RunStatus.WAITING if is_waiting else RunStatus(fields["status"])
    fields["tags"] = tuple(fields["tags"])
    fields["error"] = read_error(fields["error"])
    return RunRow(**fields)


def _step(row: asyncpg.Record) -> StepRow:
    fields: dict[str, Any] = dict(row)
    fields["status"] = StepStatus(fields["status"])
    fields["error"] = read_error(fields["error"])
    return StepRow(**fields)


def _make_cursor(run: RunRow) -> str:
    return base64.urlsafe_b64encode(f"{to_ms(run.created_at)}:{run.run_id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        created_ms, _, run_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(":")
        return from_ms(int(created_ms)), run_id
    except (ValueError, OverflowError, binascii.Error) as cause:
        raise BadFilter("cursor", "not one of ours") from cause

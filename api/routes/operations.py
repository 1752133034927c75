"""Operations: approvals, dead letters, schedules and workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...compiler.ir import Ir, decode_ir
from ...sdk.access import Scope
from ...sdk.client import Client
from ...sdk.errors import CouranteError, RunNotFound, WorkflowNotFound
from ...sdk.schedules.schedule import Overlap
from ...sdk.stores.approvals import list_approvals
from ...sdk.stores.connection import iso_text
from ...sdk.stores.dead_letters import DeadLetter, Wanted
from ...sdk.stores.workers import list_workers
from ...sdk.stores.workflows import get_ir
from ...sdk.unavailable import AsUnavailable
from ..bodies import NoBody, NoQuery
from ..reading.approvals import approval_view
from ..route import Answer, Asked, Routes
from ..wire.approvals import ApprovalPage
from ..wire.commands import Because, RestartDone, restart_of
from ..wire.moments import Moment
from ..wire.operations import (
    DeadLetterPage,
    Drop,
    DropDone,
    DroppedStep,
    Refusal,
    Requeue,
    Requeued,
    ScheduleAsked,
    ScheduleDetail,
    SchedulePage,
    ScheduleShown,
    TickShown,
    WorkerPage,
    dead_letter_of,
    refusal_of,
    schedule_asked,
    schedule_shown,
    tick_shown,
    worker_page,
)
from .runs import Filter, Limit, read_since
from .workflows import ById

approvals = Routes("approvals")
dead_letters = Routes("dead_letters")
schedules = Routes("schedules")
workers = Routes("workers")
NEXT_SHOWN = 5
ALIVE_S = 60.0


class ApprovalFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow: Filter | None = None
    run_id: Filter | None = None
    limit: Limit = 100


class LetterFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``error``: its type. ``all``: also those that somebody has dealt with. ``tag``: all of several."""

    run_id: Filter | None = None
    workflow: Filter | None = None
    step: Filter | None = None
    error: Filter | None = None
    kind: Literal["fatal", "retryable"] | None = None
    since: Filter | None = None
    until: Filter | None = None
    tag: list[Filter] = msgspec.field(default_factory=lambda: [])
    all: bool = False
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=4_096)] | None = None


class WorkerFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``all``: also those that have stopped or were not seen for long."""

    all: bool = False


class TickCount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit``: so many of its last ticks."""

    limit: Annotated[int, Meta(ge=0, le=1000)] = 10


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``overlap``: what to do while a run of the schedule goes on."""

    overlap: Overlap = Overlap.ALLOW
    by: Filter | None = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    is_deleted: bool


@approvals.get("/v1/approvals", scope=Scope.READ)
async def waiting(asked: Asked[ApprovalFilters, NoBody]) -> ApprovalPage:
    """List the steps that wait for somebody to decide."""
    query, backend = asked.query, asked.backend
    async with backend.client.pool.acquire() as conn:
        found = await list_approvals(conn, backend.env, workflow=query.workflow, run_id=query.run_id, limit=query.limit)
        irs: dict[str, Ir | None] = {}
        for address in {one.ir_hash for one in found}:
            content = await get_ir(conn, backend.env, address)
            irs[address] = None if content is None else decode_ir(content)
    return ApprovalPage(approvals=[approval_view(one, irs[one.ir_hash]).to_wire() for one in found])


@dead_letters.get("/v1/dead-letters", scope=Scope.READ)
async def list_letters(asked: Asked[LetterFilters, NoBody]) -> DeadLetterPage:
    """List steps that failed for good, the last failure first."""
    query, client = asked.query, asked.backend.client
    wanted = Wanted(
        run_id=query.run_id,
        workflow=query.workflow,
        node=query.step,
        error=query.error,
        kind=query.kind,
        since=read_since(query.since),
        until=read_since(query.until),
        tags=tuple(query.tag),
        is_open=not query.all,
    )
    page = await client.dead_letters(wanted, limit=query.limit, cursor=query.cursor)
    irs = await _irs(client, {letter.ir_hash for letter in page.letters if letter.scope})
    shown = [dead_letter_of(letter, irs.get(letter.ir_hash)) for letter in page.letters]
    return DeadLetterPage(dead_letters=shown, next=page.next)


@dead_letters.post("/v1/dead-letters/requeue", scope=Scope.OPERATE)
async def requeue(asked: Asked[NoQuery, Requeue]) -> Requeued:
    """Start runs again, each from where it was before its first dead letter. Those that cannot be are told."""
    body, by = asked.body, asked.by(asked.body.by)
    done: list[RestartDone] = []
    refused: list[Refusal] = []
    for run_id in dict.fromkeys(body.runs):
        try:
            found = await asked.backend.client.requeue(run_id, by=by, again=body.again, dry_run=body.dry_run)
            done.append(restart_of(found, is_dry=body.dry_run))
        except CouranteError as error:
            if error.code == "service_unavailable":
                raise
            refused.append(refusal_of(run_id, error))
    return Requeued(dry_run=body.dry_run, requeued=done, refused=refused)


@dead_letters.post("/v1/dead-letters/drop", scope=Scope.OPERATE, errors=("run_not_found", "input_invalid"))
async def drop(asked: Asked[NoQuery, Drop]) -> DropDone:
    """Say that dead letters are dealt with, without starting anything."""
    body, by, client = asked.body, asked.by(asked.body.by), asked.backend.client
    letters: list[DeadLetter] = []
    for place in body.places:
        wanted = Wanted(run_id=place.run_id, node=place.step, is_open=False)
        found = (await client.dead_letters(wanted, limit=1000)).letters
        if not found:
            raise RunNotFound(f"{place.run_id:.200} has no dead letter{f' {place.step:.200}' if place.step else ''}")
        letters += [letter for letter in found if letter.state == "open"]
    dropped = await client.drop_dead_letters(letters, body.reason, by=by)
    shown = [DroppedStep(run_id=one.run_id, step=one.node, scope=one.scope) for one in dropped]
    return DropDone(dropped=shown, by=by, reason=body.reason)


@workers.get("/v1/workers", scope=Scope.READ)
async def list_all(asked: Asked[WorkerFilters, NoBody]) -> WorkerPage:
    """List workers, the one that was seen last first."""
    since = None if asked.query.all else datetime.now(UTC) - timedelta(seconds=ALIVE_S)
    async with asked.backend.client.pool.acquire() as conn:
        return worker_page(await list_workers(conn, asked.backend.env, seen_since=since))


@schedules.get("/v1/schedules", scope=Scope.READ)
async def list_(asked: Asked[ById, NoBody]) -> SchedulePage:
    """List schedules by id."""
    query = asked.query
    found = await asked.backend.client.schedules.list(limit=query.limit, after=query.after)
    following = found[-1].schedule.id if found and len(found) == query.limit else None
    return SchedulePage(schedules=[schedule_shown(kept) for kept in found], next=following)


@schedules.add(
    "PUT",
    "/v1/schedules/{id}",
    scope=Scope.OPERATE,
    errors=("schedule_invalid", "input_invalid", "workflow_not_found", "schedule_exists"),
)
async def create(asked: Asked[NoQuery, ScheduleAsked]) -> ScheduleShown:
    """Keep a schedule. The same again changes nothing; another one of this id only with ``replace``."""
    body = asked.body
    wanted = schedule_asked(asked.at("id"), body, asked.by(body.by))
    kept = await asked.backend.client.schedules.create(wanted, replace=body.replace, is_paused=body.is_paused)
    return schedule_shown(kept)


@schedules.get("/v1/schedules/{id}", scope=Scope.READ, errors=("schedule_not_found",))
async def show(asked: Asked[TickCount, NoBody]) -> ScheduleDetail:
    """Show a schedule: its next ticks, and what became of the last ones."""
    face, id = asked.backend.client.schedules, asked.at("id")
    kept, ticks, following = await face.get(id), await face.ticks(id, limit=asked.query.limit), await face.next(id, 5)
    coming: list[Moment] = [iso_text(at) for at in following]
    return ScheduleDetail(schedule=schedule_shown(kept), next=coming, ticks=[tick_shown(tick) for tick in ticks])


@schedules.post("/v1/schedules/{id}/pause", scope=Scope.OPERATE, errors=("schedule_not_found",))
async def pause(asked: Asked[NoQuery, Because]) -> ScheduleShown:
    """Start nothing by the clock until it is resumed."""
    face, body = asked.backend.client.schedules, asked.body
    return schedule_shown(await face.pause(asked.at("id"), by=asked.by(body.by), note=body.reason))


@schedules.post("/v1/schedules/{id}/resume", scope=Scope.OPERATE, errors=("schedule_not_found",))
async def resume(asked: Asked[NoQuery, Because]) -> ScheduleShown:
    """Go on with the next tick."""
    return schedule_shown(await asked.backend.client.schedules.resume(asked.at("id")))


@schedules.post(
    "/v1/schedules/{id}/trigger",
    scope=Scope.OPERATE,
    statuses=(201,),
    errors=("schedule_not_found", "input_invalid", "workflow_not_found"),
)
async def trigger(asked: Asked[NoQuery, Trigger]) -> Answer[TickShown]:
    """Start a run of a schedule now."""
    face, body = asked.backend.client.schedules, asked.body
    tick = await face.trigger(asked.at("id"), overlap=body.overlap, by=asked.by(body.by))
    return Answer(tick_shown(tick), 201)


@schedules.delete("/v1/schedules/{id}", scope=Scope.OPERATE, errors=("schedule_not_found",))
async def delete(asked: Asked[NoQuery, NoBody]) -> Deleted:
    """Delete a schedule; its runs stay."""
    await asked.backend.client.schedules.delete(asked.at("id"))
    return Deleted(id=asked.at("id"), is_deleted=True)


async def _irs(client: Client, addresses: set[str]) -> dict[str, Ir]:
    """Those that are known."""
    found: dict[str, Ir] = {}
    with AsUnavailable():
        async with client.pool.acquire() as conn:
            for address in addresses:
                try:
                    found[address] = (await client.catalog.known_plan(address, conn)).ir
                except WorkflowNotFound:
                    continue
    return found

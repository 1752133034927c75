"""Schedules: workflows that are started by the clock."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ...sdk.access import Scope
from ...sdk.moments import iso_text
from ..bodies import NoBody, NoQuery
from ..route import Answer, Asked, Routes
from ..wire.commands import Because
from ..wire.moments import Moment
from ..wire.schedules import (
    BackfillAsked,
    BackfillDone,
    NextTicks,
    ScheduleAsked,
    ScheduleDeleted,
    ScheduleDetail,
    SchedulePage,
    ScheduleShown,
    TickShown,
    Trigger,
    backfill_done,
    schedule_asked,
    schedule_shown,
    tick_shown,
)
from .runs import read_since
from .workflows import ById

routes = Routes("schedules")


class TickCount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``limit``: so many of its last ticks."""

    limit: Annotated[int, Meta(ge=0, le=1000)] = 10


class NextCount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=1000)] = 5


@routes.get("/v1/schedules", scope=Scope.READ)
async def list_(asked: Asked[ById, NoBody]) -> SchedulePage:
    """List schedules by id."""
    query = asked.query
    found = await asked.backend.client.schedules.list(limit=query.limit, after=query.after)
    following = found[-1].schedule.id if found and len(found) == query.limit else None
    return SchedulePage(schedules=[schedule_shown(kept) for kept in found], next=following)


@routes.add(
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


@routes.get("/v1/schedules/{id}", scope=Scope.READ, errors=("schedule_not_found",))
async def show(asked: Asked[TickCount, NoBody]) -> ScheduleDetail:
    """Show a schedule: its next ticks, and what became of the last ones."""
    face, id = asked.backend.client.schedules, asked.at("id")
    kept, ticks, following = await face.get(id), await face.ticks(id, limit=asked.query.limit), await face.next(id, 5)
    coming: list[Moment] = [iso_text(at) for at in following]
    return ScheduleDetail(schedule=schedule_shown(kept), next=coming, ticks=[tick_shown(tick) for tick in ticks])


@routes.post("/v1/schedules/{id}/pause", scope=Scope.OPERATE, errors=("schedule_not_found",))
async def pause(asked: Asked[NoQuery, Because]) -> ScheduleShown:
    """Start nothing by the clock until it is resumed."""
    face, body = asked.backend.client.schedules, asked.body
    return schedule_shown(await face.pause(asked.at("id"), by=asked.by(body.by), note=body.reason))


@routes.post("/v1/schedules/{id}/resume", scope=Scope.OPERATE, errors=("schedule_not_found",))
async def resume(asked: Asked[NoQuery, Because]) -> ScheduleShown:
    """Go on with the next tick."""
    return schedule_shown(await asked.backend.client.schedules.resume(asked.at("id")))


@routes.post(
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


@routes.post("/v1/schedules/{id}/backfill", scope=Scope.OPERATE, errors=("schedule_not_found", "schedule_invalid"))
async def backfill(asked: Asked[NoQuery, BackfillAsked]) -> BackfillDone:
    """Start a run for each past tick that has had none; a supervisor starts them, the earliest first."""
    id, body = asked.at("id"), asked.body
    begin, end = read_since(body.since), read_since(body.until)
    assert begin is not None
    done = await asked.backend.client.schedules.backfill(id, begin, end, overlap=body.overlap, by=asked.by(body.by))
    return backfill_done(id, done)


@routes.get("/v1/schedules/{id}/next", scope=Scope.READ, errors=("schedule_not_found",))
async def next_(asked: Asked[NextCount, NoBody]) -> NextTicks:
    """Tell the next ticks of a schedule, as if it were not paused."""
    id = asked.at("id")
    found = await asked.backend.client.schedules.next(id, asked.query.count)
    return NextTicks(id=id, next=[iso_text(at) for at in found])


@routes.delete("/v1/schedules/{id}", scope=Scope.OPERATE, errors=("schedule_not_found",))
async def delete(asked: Asked[NoQuery, NoBody]) -> ScheduleDeleted:
    """Delete a schedule; its runs stay."""
    await asked.backend.client.schedules.delete(asked.at("id"))
    return ScheduleDeleted(id=asked.at("id"), is_deleted=True)

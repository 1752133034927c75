"""Schedules over an API, by the names that the engine's client has for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from ...api.wire.commands import Because
from ...api.wire.schedules import (
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
)
from ...sdk.client.schedules import Backfill
from ...sdk.moments import iso_text
from ...sdk.schedules.schedule import KeptSchedule, Overlap, Schedule
from ...sdk.schedules.tick import Tick
from .connection import Connection
from .converted import as_kind, kept_schedule, when
from .paths import at


class ApiSchedules:
    """See ``sdk.client.schedules.Schedules``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    async def create(self, schedule: Schedule, *, replace: bool = False, is_paused: bool = False) -> KeptSchedule:
        fields: dict[str, Any] = msgspec.structs.asdict(schedule)
        del fields["id"]
        fields["tags"] = list(schedule.tags)
        body = ScheduleAsked(**fields, replace=replace, is_paused=is_paused)
        return kept_schedule(await self._api.put(at("schedules", schedule.id), body, ScheduleShown))

    async def get(self, id: str) -> KeptSchedule:
        return kept_schedule((await self._show(id, 0)).schedule)

    async def list(self, *, limit: int = 100, after: str = "") -> Sequence[KeptSchedule]:
        page = await self._api.get(at("schedules"), SchedulePage, {"limit": limit, "after": after})
        return [kept_schedule(one) for one in page.schedules]

    async def ticks(self, id: str, *, limit: int = 20) -> Sequence[Tick]:
        return [as_kind(tick, Tick, schedule=id) for tick in (await self._show(id, limit)).ticks]

    async def _show(self, id: str, limit: int) -> ScheduleDetail:
        return await self._api.get(at("schedules", id), ScheduleDetail, {"limit": limit})

    async def next(self, id: str, count: int = 5) -> Sequence[datetime]:
        found = await self._api.get(at("schedules", id, "next"), NextTicks, {"count": count})
        return _times(found.next)

    async def pause(self, id: str, *, by: str | None = None, note: str = "") -> KeptSchedule:
        body = Because(reason=note, by=by)
        return kept_schedule(await self._api.post(at("schedules", id, "pause"), body, ScheduleShown))

    async def resume(self, id: str) -> KeptSchedule:
        return kept_schedule(await self._api.post(at("schedules", id, "resume"), {}, ScheduleShown))

    async def delete(self, id: str) -> None:
        await self._api.delete(at("schedules", id), ScheduleDeleted)

    async def trigger(self, id: str, *, overlap: str = Overlap.ALLOW, by: str | None = None) -> Tick:
        body = Trigger(overlap=Overlap(overlap), by=by)
        return as_kind(await self._api.post(at("schedules", id, "trigger"), body, TickShown), Tick, schedule=id)

    async def backfill(
        self,
        id: str,
        since: datetime,
        until: datetime | None = None,
        *,
        overlap: str = Overlap.BUFFER_ALL,
        by: str | None = None,
    ) -> Backfill:
        body = BackfillAsked(since=iso_text(since), until=when(until), overlap=Overlap(overlap), by=by)
        done = await self._api.post(at("schedules", id, "backfill"), body, BackfillDone)
        return Backfill(ticks=_times(done.ticks), filled=_times(done.filled))


def _times(told: Sequence[str]) -> list[datetime]:
    return msgspec.convert(told, list[datetime])

"""Schedules and their ticks as they travel."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...sdk.client.schedules import Backfill
from ...sdk.moments import iso_text
from ...sdk.schedules.schedule import CatchUp, KeptSchedule, Overlap, Schedule
from ...sdk.schedules.tick import Origin, Tick, TickState
from .commands import Text, VersionNumber, Word
from .moments import Moment


class ScheduleAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workflow, started again and again: by ``cron`` in ``timezone``, or ``every_ms`` counted from ``anchor``."""

    workflow: Annotated[str, Meta(min_length=1, max_length=512)]
    version: VersionNumber | None = None
    input: Any = msgspec.field(default_factory=dict[str, Any])
    cron: Word | None = None
    every_ms: int | None = None
    anchor: Annotated[datetime, Meta(tz=True)] | None = None
    timezone: Word = "UTC"
    jitter_ms: int = 0
    catch_up: CatchUp = CatchUp.ONE
    catch_up_max: int = 100
    grace_ms: int = 60_000
    overlap: Overlap = Overlap.SKIP
    tags: Annotated[list[Word], Meta(max_length=64)] = msgspec.field(default_factory=lambda: [])
    starts_at: Annotated[datetime, Meta(tz=True)] | None = None
    ends_at: Annotated[datetime, Meta(tz=True)] | None = None
    by: Word | None = None
    note: Text = ""
    is_paused: bool = False
    replace: bool = False


class ScheduleShown(msgspec.Struct, frozen=True, kw_only=True):
    """``next_tick``: null where none comes any more."""

    id: str
    workflow: str
    version: int | None
    input: Any
    cron: str | None
    every_ms: int | None
    anchor: Moment | None
    timezone: str
    jitter_ms: int
    catch_up: CatchUp
    catch_up_max: int
    grace_ms: int
    overlap: Overlap
    tags: list[str]
    starts_at: Moment | None
    ends_at: Moment | None
    by: str | None
    note: str
    is_paused: bool
    pause_by: str | None
    pause_note: str
    next_tick: Moment | None
    created_at: Moment
    updated_at: Moment


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    schedules: list[ScheduleShown]
    next: str | None


class TickShown(msgspec.Struct, frozen=True, kw_only=True):
    at: Moment
    due_at: Moment
    origin: Origin
    overlap: Overlap
    state: TickState
    reason: str | None
    run_id: str | None
    by: str | None


class ScheduleDetail(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: the ticks to come. ``ticks``: what became of the last ones."""

    schedule: ScheduleShown
    next: list[Moment]
    ticks: list[TickShown]


class BackfillAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``since``, ``until``: the first and the last tick; ``2h`` ago, or ISO 8601. ``until``: left out, now.

    ``overlap``: what a tick does while another run of the backfill goes on.
    """

    since: Word
    until: Word | None = None
    overlap: Overlap = Overlap.BUFFER_ALL
    by: Word | None = None


class BackfillDone(msgspec.Struct, frozen=True, kw_only=True):
    """``ticks``: all in the span. ``filled``: those that will be started now; the others have had their run."""

    id: str
    ticks: list[Moment]
    filled: list[Moment]


class NextTicks(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    next: list[Moment]


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``overlap``: what to do while a run of the schedule goes on."""

    overlap: Overlap = Overlap.ALLOW
    by: Word | None = None


class ScheduleDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    is_deleted: bool


def schedule_asked(id: str, asked: ScheduleAsked, by: str) -> Schedule:
    fields: dict[str, Any] = msgspec.structs.asdict(asked)
    fields |= {"id": id, "by": by, "tags": tuple(asked.tags)}
    del fields["is_paused"], fields["replace"]
    return Schedule(**fields)


def schedule_shown(kept: KeptSchedule) -> ScheduleShown:
    asked: dict[str, Any] = msgspec.structs.asdict(kept.schedule)
    rest: dict[str, Any] = msgspec.structs.asdict(kept)
    del rest["schedule"]
    fields = {name: _plain(value) for name, value in (asked | rest).items()}
    fields["tags"] = list(kept.schedule.tags)
    return ScheduleShown(**fields)


def tick_shown(tick: Tick) -> TickShown:
    fields: dict[str, Any] = msgspec.structs.asdict(tick)
    names = ("at", "due_at", "origin", "overlap", "state", "reason", "run_id", "by")
    return TickShown(**{name: _plain(fields[name]) for name in names})


def backfill_done(id: str, done: Backfill) -> BackfillDone:
    return BackfillDone(id=id, ticks=[iso_text(at) for at in done.ticks], filled=[iso_text(at) for at in done.filled])


def _plain(value: Any) -> Any:
    return iso_text(value) if isinstance(value, datetime) else value

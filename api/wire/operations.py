"""Dead letters, schedules, workers and figures as they travel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ...compiler.ir import Ir
from ...sdk.errors import CouranteError, NotRestartable
from ...sdk.events import ErrorInfo
from ...sdk.schedules.schedule import CatchUp, KeptSchedule, Overlap, Schedule
from ...sdk.schedules.tick import Origin, Tick, TickState
from ...sdk.stores.connection import iso_text
from ...sdk.stores.dead_letters import DeadLetter as Letter
from ...sdk.stores.workers import WorkerRow
from .commands import RestartDone, Text, VersionNumber, Word
from .events import Numbers
from .moments import Moment, moment


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A step that failed for good. ``state``: whether somebody has dealt with it."""

    run_id: str
    workflow: str
    version: int
    tags: list[str]
    step: str
    scope: str
    attempts: int
    error: ErrorInfo | None
    failed_at: Moment
    seq: int
    state: Literal["open", "requeued", "dropped"]
    requeued_as: str | None
    dropped_by: str | None
    drop_reason: str | None
    dropped_at: Moment | None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """The last failure first."""

    dead_letters: list[DeadLetter]
    next: str | None


class Requeue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``runs``: with dead letters."""

    runs: Annotated[list[Word], Meta(min_length=1, max_length=1_000)]
    dry_run: bool = False
    again: bool = False
    by: Word | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    base_run_id: str
    code: str
    reason: str
    message: str
    hint: str


class Requeued(msgspec.Struct, frozen=True, kw_only=True):
    dry_run: bool
    requeued: list[RestartDone]
    refused: list[Refusal]


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``step``: left out, all of the run."""

    run_id: Word
    step: Word | None = None


class Drop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    places: Annotated[list[Place], Meta(min_length=1, max_length=1_000)]
    reason: Text = ""
    by: Word | None = None


class DroppedStep(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    step: str
    scope: str


class DropDone(msgspec.Struct, frozen=True, kw_only=True):
    """Those that were open until now."""

    dropped: list[DroppedStep]
    by: str
    reason: str


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """``build``: version of its code. ``stopped_at``: an orderly stop."""

    worker: str
    host: str
    pid: int
    build: str
    steps: list[str]
    queues: list[str]
    started_at: Moment
    last_seen: Moment
    stopped_at: Moment | None


class WorkerPage(msgspec.Struct, frozen=True, kw_only=True):
    """The one that was seen last comes first."""

    workers: list[Worker]


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


def dead_letter_of(letter: Letter, ir: Ir | None) -> DeadLetter:
    """ir: None where it is not known; the scope is then as the log has it."""
    return DeadLetter(
        run_id=letter.run_id,
        workflow=letter.workflow,
        version=letter.version,
        tags=list(letter.tags),
        step=letter.node,
        scope=Numbers(ir).scope(letter.node, letter.scope),
        attempts=letter.attempt,
        error=letter.error,
        failed_at=iso_text(letter.failed_at),
        seq=letter.seq,
        state=letter.state,
        requeued_as=letter.requeued_as,
        dropped_by=letter.dropped_by,
        drop_reason=letter.drop_reason,
        dropped_at=moment(letter.dropped_at),
    )


def refusal_of(run_id: str, error: CouranteError) -> Refusal:
    reason = error.reason if isinstance(error, NotRestartable) else ""
    return Refusal(base_run_id=run_id, code=error.code, reason=reason, message=error.message, hint=error.hint)


def worker_page(found: Sequence[WorkerRow]) -> WorkerPage:
    return WorkerPage(
        workers=[
            Worker(
                worker=one.consumer,
                host=one.host,
                pid=one.pid,
                build=one.build,
                steps=list(one.handlers),
                queues=list(one.queues),
                started_at=iso_text(one.started_at),
                last_seen=iso_text(one.last_seen),
                stopped_at=moment(one.stopped_at),
            )
            for one in found
        ]
    )


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


def _plain(value: Any) -> Any:
    return iso_text(value) if isinstance(value, datetime) else value

"""Converted: what an API has told, as the engine's own client gives it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from ...api.wire.commands import CommandDone, Refusal, RestartDone
from ...api.wire.dead_letters import DeadLetter as ToldLetter
from ...api.wire.migrations import MigrationShown
from ...api.wire.pauses import PauseDone
from ...api.wire.schedules import ScheduleShown
from ...sdk.client.control import Commanded
from ...sdk.client.deciding import StepCommanded
from ...sdk.client.pausing import PauseResult
from ...sdk.client.restarts import Restarted
from ...sdk.errors import Blocker, CouranteError, NotRestartable
from ...sdk.migration.migrations import Migration
from ...sdk.moments import iso_text
from ...sdk.schedules.schedule import KeptSchedule
from ...sdk.stores.dead_letters import DeadLetter
from ...sdk.stores.pauses import PauseKind

T = TypeVar("T")


def as_kind(told: object, kind: type[T], **more: object) -> T:
    """Convert a struct to one with the same names; more: what it has besides."""
    fields: dict[str, Any] = msgspec.to_builtins(told)
    return msgspec.convert(fields | more, kind)


def when(at: datetime | None) -> str | None:
    return None if at is None else iso_text(at)


def commanded(done: CommandDone) -> Commanded:
    return as_kind(done, Commanded)


def step_commanded(done: CommandDone) -> StepCommanded:
    return as_kind(done, StepCommanded)


def restarted(done: RestartDone) -> Restarted:
    return as_kind(done, Restarted, **({"run_id": ""} if done.run_id is UNSET else {}))


def refused(told: Refusal) -> CouranteError:
    """Return a refusal of one of many runs as it was raised."""
    error = (
        NotRestartable(told.message, reason=told.reason, hint=told.hint)
        if told.code == NotRestartable.code
        else CouranteError(told.message, hint=told.hint)
    )
    error.code = told.code
    return error


def migration(told: MigrationShown) -> Migration:
    return Migration(
        run_id=told.run_id,
        workflow=told.workflow,
        before=told.before,
        after=told.after,
        seq=told.seq,
        is_moved=told.moved,
        blockers=tuple(Blocker(**msgspec.structs.asdict(one)) for one in told.blockers),
        by=None if told.by is UNSET else told.by,
    )


def paused(done: PauseDone, kind: PauseKind, name: str) -> PauseResult:
    return PauseResult(kind=kind, name=name, state=done.state, runs=done.runs, by=done.by)


def kept_schedule(told: ScheduleShown) -> KeptSchedule:
    return as_kind(told, KeptSchedule, schedule=msgspec.to_builtins(told))


def dead_letter(told: ToldLetter) -> DeadLetter:
    """Its scope is as people read it, and no IR is needed for it."""
    return as_kind(told, DeadLetter, ir_hash="", node=told.step, attempt=told.attempts)

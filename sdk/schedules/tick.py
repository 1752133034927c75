"""Tick: one time of a schedule, and what became of it. Pure.

A tick has one run at most: the run's idempotency key, and with it its id, is made of the schedule's id and the tick.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from ..moments import to_ms
from ..stores.commands import run_id_of_key
from ..submissions.submissions import Submission
from .input import render_input, tick_text
from .schedule import Overlap, Schedule

TRIGGER = "schedule"
"""Why the runs were started, as the log has it."""


class Origin(StrEnum):
    """Who asked for a tick. What is filled in later does not stand in the way of what comes by the clock."""

    SCHEDULE = "schedule"
    BACKFILL = "backfill"
    TRIGGER = "trigger"


class TickState(StrEnum):
    """``waiting`` -> ``starting`` -> ``started`` -> ``ended``, or ``skipped``, or ``failed``."""

    WAITING = "waiting"
    STARTING = "starting"
    STARTED = "started"
    ENDED = "ended"
    SKIPPED = "skipped"
    FAILED = "failed"


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """``at``: whole seconds, but for a trigger, which never has them. ``due_at``: with jitter. All in UTC.

    ``run_id``: known from ``starting`` on. ``reason``: why it was skipped or failed.
    ``is_cancelled``: its run was told to end.
    """

    schedule: str
    at: datetime
    origin: Origin
    overlap: Overlap
    due_at: datetime
    state: TickState = TickState.WAITING
    reason: str | None = None
    run_id: str | None = None
    by: str | None = None
    is_cancelled: bool = False

    @property
    def lane(self) -> bool:
        """Ticks of one lane mind each other's runs: those by the clock and by hand here, what is filled in there."""
        return self.origin is Origin.BACKFILL


def key_of(schedule_id: str, at: datetime) -> str:
    """``schedule:nightly:2026-03-29T01:00:00Z``."""
    return f"schedule:{schedule_id}:{tick_text(at)}"


def run_of(env: str, tick: Tick) -> str:
    """Return the id that the run of a tick has, whether it was started or not."""
    return run_id_of_key(env, key_of(tick.schedule, tick.at))


def delay_of(schedule: Schedule, at: datetime) -> timedelta:
    """Return how much later than its time a tick is started: from 0 to ``jitter_ms``, the same for the same tick."""
    word = hashlib.blake2b(f"{schedule.id}\n{to_ms(at)}".encode(), digest_size=8).digest()
    return timedelta(milliseconds=int.from_bytes(word) % (schedule.jitter_ms + 1))


def planned_tick(schedule: Schedule, at: datetime) -> Tick:
    """A tick by the clock, that waits for its time."""
    due_at = at + delay_of(schedule, at)
    return Tick(schedule=schedule.id, at=at, origin=Origin.SCHEDULE, overlap=schedule.overlap, due_at=due_at)


def submission_of(schedule: Schedule, tick: Tick) -> Submission:
    """Return what starts the run of a tick. Raises InputInvalid where the input has no value."""
    return Submission(
        workflow=schedule.workflow,
        version=schedule.version,
        input=render_input(schedule, tick.at, tick.origin),
        key=key_of(schedule.id, tick.at),
        by=tick.by or schedule.by,
        tags=(*schedule.tags, schedule.tag),
        trigger=TRIGGER,
    )

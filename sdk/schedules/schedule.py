"""Schedule: what a user asks for, checked at the door. Pure.

``check_schedule`` finds everything that is wrong, each with the name of its field; what it returns is in order: times
in UTC, words as enums.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from ...compiler.diagnostics import did_you_mean
from ..errors import InputInvalid, ScheduleInvalid
from ..moments import EPOCH
from ..submissions.submissions import Submission, check_texts, to_utc
from .cadence import Cadence, Times
from .cron import Cron, CronError
from .input import check_input
from .interval import Interval

_DAY_MS = 86_400_000
ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
EVERY_MS_MIN, EVERY_MS_MAX = 1_000, 366 * _DAY_MS
JITTER_MS_MAX = _DAY_MS
GRACE_MS_MIN, GRACE_MS_MAX = 1_000, 3_600_000
CATCH_UP_MAX = 1_000
NOTE_CHARS_MAX = 512
E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


class CatchUp(StrEnum):
    """What is started of ticks that have come while no supervisor was there."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class Overlap(StrEnum):
    """What a tick does while an earlier run of its schedule has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_PREVIOUS = "cancel_previous"


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow, started again and again: by ``cron`` in ``timezone``, or ``every_ms`` counted from ``anchor``.

    version: None for the latest at each tick. input: JSON; its strings may hold ``{{ schedule.tick }}`` and other CEL.
    anchor: None for 1970-01-01T00:00Z. jitter_ms: each tick is started up to so much later; the same tick always by the
    same. catch_up: of ticks later than ``grace_ms``; ``catch_up_max``: at most so many, the latest.
    starts_at, ends_at: no ticks before and after.
    """

    id: str
    workflow: str
    version: int | None = None
    input: Any = None
    cron: str | None = None
    every_ms: int | None = None
    anchor: datetime | None = None
    timezone: str = "UTC"
    jitter_ms: int = 0
    catch_up: CatchUp = CatchUp.ONE
    catch_up_max: int = 100
    grace_ms: int = 60_000
    overlap: Overlap = Overlap.SKIP
    tags: tuple[str, ...] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    by: str | None = None
    note: str = ""

    @property
    def tag(self) -> str:
        """The tag that all of its runs have."""
        return f"schedule:{self.id}"


class KeptSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it stands. ``next_tick``: not planned yet; None where none comes any more."""

    schedule: Schedule
    is_paused: bool
    pause_by: str | None
    pause_note: str
    next_tick: datetime | None
    created_at: datetime
    updated_at: datetime


def cadence_of(schedule: Schedule) -> Cadence:
    """Return the times of a schedule that was checked. Raises CronError, ZoneInfoNotFoundError."""
    times: Times
    if schedule.cron is not None:
        times = Cron(schedule.cron, ZoneInfo(schedule.timezone))
    else:
        assert schedule.every_ms is not None
        times = Interval(timedelta(milliseconds=schedule.every_ms), schedule.anchor or EPOCH)
    return Cadence(times, starts_at=schedule.starts_at, ends_at=schedule.ends_at)


def check_schedule(schedule: Schedule) -> Schedule:
    """Return the schedule in order. Raises ScheduleInvalid with a line for each problem."""
    problems: list[str] = []
    if not _is_text(schedule.id, 128) or not ID.fullmatch(schedule.id):
        problems.append(f"id: {schedule.id!r:.140} does not fit ^{ID.pattern}$")
    wanted = Submission(
        workflow=schedule.workflow,
        version=schedule.version,
        by=schedule.by,
        tags=(*schedule.tags, schedule.tag),
    )
    _collect(problems, lambda: check_texts(wanted))
    input: Any = _collect(problems, lambda: check_input(schedule.input))
    problems += _time_problems(schedule)
    problems += _range_problems(schedule)
    if not _is_text(schedule.note, NOTE_CHARS_MAX):
        problems.append(f"note: wanted text of at most {NOTE_CHARS_MAX} characters, without NUL")
    catch_up = _word("catch_up", schedule.catch_up, CatchUp, problems)
    overlap = _word("overlap", schedule.overlap, Overlap, problems)
    anchor = _collect(problems, lambda: _whole("anchor", schedule.anchor))
    starts_at = _collect(problems, lambda: _whole("starts_at", schedule.starts_at))
    ends_at = _collect(problems, lambda: _whole("ends_at", schedule.ends_at))
    if starts_at is not None and ends_at is not None and ends_at < starts_at:
        problems.append(f"ends_at: {ends_at.isoformat()} is before starts_at, {starts_at.isoformat()}")
    if problems:
        raise ScheduleInvalid(problems[0], problems)
    return msgspec.structs.replace(
        schedule, input=input, catch_up=catch_up, overlap=overlap, anchor=anchor, starts_at=starts_at, ends_at=ends_at
    )


def read_overlap(word: str) -> Overlap:
    """Raises ScheduleInvalid."""
    problems: list[str] = []
    overlap = _word("overlap", word, Overlap, problems)
    if problems:
        raise ScheduleInvalid(problems[0], problems)
    return overlap


def _collect(problems: list[str], check: Callable[[], T]) -> T | None:
    try:
        return check()
    except InputInvalid as error:
        problems.extend(error.problems or (error.message,))
        return None


def _time_problems(schedule: Schedule) -> list[str]:
    if (schedule.cron is None) == (schedule.every_ms is None):
        return ["cron: wanted either cron or every_ms" + ("" if schedule.cron is None else ", not both")]
    if schedule.cron is None:
        limits = f"whole seconds from {EVERY_MS_MIN} to {EVERY_MS_MAX:,} ms"
        every_ms = schedule.every_ms
        is_good = _is_int(every_ms, EVERY_MS_MIN, EVERY_MS_MAX) and int(every_ms or 0) % 1_000 == 0
        return [] if is_good else [f"every_ms: wanted {limits}, not {every_ms!r:.40}"]
    if schedule.anchor is not None:
        return ["anchor: only an interval (every_ms) has one"]
    try:
        zone = ZoneInfo(schedule.timezone)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # also for what is a folder, or no path at all
        near = did_you_mean(str(schedule.timezone), available_timezones())
        return [f"timezone: there is no time zone {schedule.timezone!r:.80}{'; ' + near if near else ''}"]
    try:
        Cron(schedule.cron, zone)
    except (CronError, AttributeError) as error:
        return [f"cron: {error}"]
    return []


def _range_problems(schedule: Schedule) -> list[str]:
    ranges = {
        "jitter_ms": (schedule.jitter_ms, 0, JITTER_MS_MAX),
        "grace_ms": (schedule.grace_ms, GRACE_MS_MIN, GRACE_MS_MAX),
        "catch_up_max": (schedule.catch_up_max, 1, CATCH_UP_MAX),
    }
    return [
        f"{name}: wanted a whole number from {least:,} to {most:,}, not {value!r:.40}"
        for name, (value, least, most) in ranges.items()
        if not _is_int(value, least, most)
    ]


def _is_text(value: object, chars_max: int) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= chars_max
        and not any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in value)
    )


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _word(name: str, value: str, words: type[E], problems: list[str]) -> E:
    try:
        return words(value)
    except ValueError:
        problems.append(f"{name}: wanted one of {', '.join(words)}, not {value!r:.40}")
        return next(iter(words))


def _whole(name: str, at: datetime | None) -> datetime | None:
    found = to_utc(name, at)
    if found is not None and (found.microsecond or found.astimezone(UTC).year < EPOCH.year):
        raise InputInvalid(f"{name}: wanted whole seconds, not before 1970")
    return found

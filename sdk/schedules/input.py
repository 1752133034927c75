"""Input: what a run of a schedule is given. Strings of it may be templates over ``schedule``. Pure.

``schedule.id``; ``schedule.tick``, the time in UTC (``2026-03-29T01:00:00Z``), whenever the run is really started;
``schedule.local``, the same in the schedule's time zone, with its offset; ``schedule.origin``: schedule, backfill or
trigger.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from ...compiler.cel import EvaluationError, ExpressionError
from ...compiler.templates import compile_value
from ..errors import InputInvalid, PayloadUnreadable
from ..json_values import NotJson, encode_value
from ..sealing.payload_terms import PAYLOAD_TERMS

if TYPE_CHECKING:
    from .schedule import Schedule

INPUT_BYTES_MAX = 1024 * 1024
"""It is read at every tick."""
ROOTS = frozenset({"schedule"})
FIELDS = frozenset({"id", "tick", "local", "origin"})


class UnreadableInput(msgspec.Struct, frozen=True):
    """In the place of an input that this process has no key for: other schedules are looked after all the same."""

    unreadable: str


def seal_input(input: object) -> bytes:
    """Return what is stored of an input. Raises InputInvalid."""
    return PAYLOAD_TERMS.encode(encode_input(input))


def open_input(stored: bytes) -> Any:
    try:
        return msgspec.json.decode(PAYLOAD_TERMS.decode(stored))
    except PayloadUnreadable as error:
        return UnreadableInput(error.message)


def encode_input(input: object) -> bytes:
    """Return canonical JSON. Raises InputInvalid."""
    try:
        content = encode_value(input, is_sorted=True)
    except NotJson as error:
        raise InputInvalid(_at(error.place, error.problem)) from error
    if len(content) > INPUT_BYTES_MAX:
        raise InputInvalid(f"input: it has {len(content):,} bytes; at most {INPUT_BYTES_MAX:,} are allowed")
    return content


def check_input(input: object) -> Any:
    """Return the input as plain JSON values. Raises InputInvalid, with a line for each template that is wrong."""
    value: Any = msgspec.json.decode(encode_input(input))
    errors: list[ExpressionError] = []
    template = compile_value(value, roots=ROOTS, errors=errors)
    problems = [_at("".join(f".{part}" for part in error.path), error.message) for error in errors]
    named = {reference.path[1] for reference in template.references if len(reference.path) > 1}
    known = ", ".join(sorted(FIELDS))
    problems += [f"input: schedule.{name} is not known; known are {known}" for name in sorted(named - FIELDS)]
    if problems:
        raise InputInvalid(problems[0], problems)
    return value


def render_input(schedule: Schedule, tick: datetime, origin: str) -> Any:
    """Return the input of the run of a tick.

    Raises InputInvalid where an expression has no value, and PayloadUnreadable.
    """
    if isinstance(schedule.input, UnreadableInput):
        raise PayloadUnreadable(schedule.input.unreadable)
    local = tick.astimezone(ZoneInfo(schedule.timezone))
    known = {"id": schedule.id, "tick": tick_text(tick), "local": local.isoformat(), "origin": str(origin)}
    try:
        return compile_value(schedule.input, roots=ROOTS).render({"schedule": known})
    except (EvaluationError, ExpressionError) as error:
        raise InputInvalid(f"input: {error.message}") from error


def tick_text(tick: datetime) -> str:
    """``2026-03-29T01:00:00Z``, with milliseconds where there are any."""
    parts = "milliseconds" if tick.microsecond else "seconds"
    return tick.astimezone(UTC).isoformat(timespec=parts).replace("+00:00", "Z")


def _at(place: str, problem: str) -> str:
    separator = "" if place.startswith(("[", ".")) or not place else "."
    return f"input{separator}{place}: {problem}"

"""``wait``: parks ``for`` a duration or ``until`` a time and holds no slot; then passes its input on."""

from datetime import datetime

from ...compiler.durations import parse_duration
from ...sdk.marking.marking import WOKEN
from ...sdk.outcomes.outcomes import Outcome, Parked, Succeeded
from ...sdk.outcomes.step_config import render_config
from ...sdk.outcomes.step_context import StepError
from ..work import Work

SECONDS_MAX = 253_402_300_799
"""The end of the year 9999."""


def run_wait(work: Work) -> Outcome:
    if work.word == WOKEN:
        return Succeeded(work.input_bytes())
    assert work.code is not None
    until = work.code.config.get("until")
    if until is not None and not isinstance(until, dict):
        return Parked(_due(work.evaluate(until)))
    ms = parse_duration(render_config(work).get("for", 0))
    if ms is None:
        raise StepError("CONFIG_INVALID", "'for' is a duration like 250ms, 30s or 10m")
    return Parked(f"+{ms}")


def _due(value: object) -> str:
    """A time as ISO 8601 with its offset, or as seconds since the epoch."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= SECONDS_MAX:  # also NaN and infinity, which a sorted set cannot hold or never reaches
            raise StepError("CONFIG_INVALID", f"'until' gives {value}, which is no time in seconds since 1970")
        return f"{value * 1000:.0f}"
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise StepError("CONFIG_INVALID", f"'until' gives {value!r}, which is no time") from error
    if at.tzinfo is None:
        raise StepError("CONFIG_INVALID", f"'until' gives {value!r}, which has no offset from UTC")
    return f"{at.timestamp() * 1000:.0f}"

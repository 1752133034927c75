"""Plan: which of the ticks that have come are started, by the catch-up rule. Pure.

Where every one is at most ``grace_ms`` late, all are. Where some are later, nobody was there to start them in time, and
the rule decides: ``skip`` starts those that are in time, ``one`` the latest, ``all`` the latest ``catch_up_max``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from .cadence import Cadence
from .schedule import CatchUp, Schedule

TOLD_MAX = 20
"""Ticks passed over that are kept as skipped: the latest; older ones leave no trace."""
_JUST = timedelta(microseconds=1)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``start`` and ``skip``: in order. ``next_tick``: the first one after now; None where none comes any more."""

    start: list[datetime]
    skip: list[datetime]
    next_tick: datetime | None


def make_plan(schedule: Schedule, cadence: Cadence, next_tick: datetime, now: datetime) -> Plan:
    """Return what to do with the ticks from ``next_tick`` up to ``now``. At most some thousand times are looked at."""
    in_time = max(next_tick, now - timedelta(milliseconds=schedule.grace_ms))
    if in_time == next_tick or schedule.catch_up is CatchUp.SKIP:
        start = list(cadence.between(in_time, now))
    else:
        start = cadence.last(1 if schedule.catch_up is CatchUp.ONE else schedule.catch_up_max, next_tick, now)
    skip: list[datetime] = []
    if in_time > next_tick:
        skip = cadence.last(TOLD_MAX, next_tick, start[0] - _JUST if start else now)
    return Plan(start=start, skip=skip, next_tick=cadence.after(now))

"""Cadence: the times of a schedule, between its first and its last. Pure; all times are in UTC and whole seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol

SECOND = timedelta(seconds=1)
_JUST = timedelta(microseconds=1)


class Times(Protocol):
    """An endless or ending sequence of times: ``Cron``, ``Interval``."""

    def after(self, at: datetime) -> datetime | None: ...


class Cadence:
    """``starts_at`` and ``ends_at``: no time before the one and none after the other."""

    def __init__(self, times: Times, *, starts_at: datetime | None = None, ends_at: datetime | None = None) -> None:
        self._times = times
        self._starts_at = starts_at
        self._ends_at = ends_at

    def after(self, at: datetime) -> datetime | None:
        """Return the first time later than ``at``; None where none comes any more."""
        if self._starts_at is not None:
            at = max(at, self._starts_at - _JUST)
        found = self._times.after(at)
        is_over = found is None or (self._ends_at is not None and found > self._ends_at)
        return None if is_over else found

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Give the times from ``since`` up to ``until``, both included, in order."""
        at = self.after(since - _JUST)
        while at is not None and at <= until:
            yield at
            at = self.after(at)

    def first(self, count: int, since: datetime, until: datetime) -> list[datetime]:
        """Return at most ``count`` of the times of ``between``, the earliest."""
        return list(islice(self.between(since, until), count))

    def last(self, count: int, since: datetime, until: datetime) -> list[datetime]:
        """Return at most ``count`` of the times of ``between``, the latest, in order.

        Looks back over ever longer spans, so its cost follows ``count``, not the span.
        """
        if count < 1 or since > until:
            return []
        span = SECOND
        while True:
            begin = max(since, until - span)
            found = deque(self.between(begin, until), maxlen=count)
            if len(found) == count or begin == since:
                return list(found)
            span *= 4

"""Cron: the times that a cron expression names in a time zone. Pure; whole seconds.

The words are those of Debian's cron, as cronsim reads them, with seconds as an optional first of six fields, and
``@hourly`` and its like. cronsim walks over wall times alone; what a wall time is in UTC is decided here, so that the
times are one fixed set, whatever moment one looks from:

- An expression that names its hours (the hour field does not begin with ``*``) comes once for each wall time it names:
  at the first of two where clocks are set back, at the first moment after the gap where they are set forward.
- One that does not (``*/15 * * * *``) comes whenever the clock on the wall shows a time it names: twice where clocks
  are set back, not at all in a gap. So it keeps its pace.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

EXPRESSION_CHARS_MAX = 256
YEAR_MAX = 2200
"""What comes later does not come at all."""
SECOND = timedelta(seconds=1)
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class CronError(ValueError):
    """The expression cannot be read, or names no time that ever comes."""


class Cron:
    """``after`` gives the times one by one. Immutable. Raises CronError where the expression is of no use."""

    def __init__(self, expression: str, zone: tzinfo = UTC) -> None:
        text = _ALIASES.get(expression.strip().lower(), expression)
        if len(text) > EXPRESSION_CHARS_MAX:
            raise CronError(f"it has {len(text):,} characters; at most {EXPRESSION_CHARS_MAX} are allowed")
        fields = text.split()
        if len(fields) not in (5, 6):
            raise CronError(
                f"{expression!r} has {len(fields)} fields; wanted 5 (minute hour day month weekday), or 6 with seconds "
                f"first, or one of {', '.join(_ALIASES)}"
            )
        self._text = text
        self._zone = zone
        self._names_hours = not fields[-4].startswith("*")
        try:
            CronSim(text, datetime(2000, 1, 1))  # noqa: DTZ001 - a wall time has no zone
        except CronSimError as error:
            raise CronError(f"{expression!r}: {str(error).lower()}") from error
        if next(self._walls(datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001 - a wall time has no zone
            raise CronError(f"{expression!r}: it names no day that ever comes")

    def after(self, at: datetime) -> datetime | None:
        """Return the first time later than ``at``, in UTC; None where nothing comes before ``YEAR_MAX``.

        Takes some 20 microseconds; seconds where an expression names every second and hours have to be skipped.
        """
        at = at.replace(microsecond=0)
        local = at.astimezone(self._zone)
        found = self._once(at, _naive(local)) if self._names_hours else self._each(at, local)
        return found if found is not None and found.year <= YEAR_MAX else None

    def _once(self, at: datetime, now: datetime) -> datetime | None:
        for wall in self._walls(now):
            first = self._instant(wall, 0)
            if first is None:
                first = self._transition(self._unchecked(wall, 1), self._unchecked(wall, 0))
            if first > at:
                return first
        return None

    def _each(self, at: datetime, local: datetime) -> datetime | None:
        found = None
        for wall in self._walls(_naive(local)):
            instants = (self._instant(wall, fold) for fold in (0, 1))
            found = min((instant for instant in instants if instant is not None and instant > at), default=None)
            if found is not None:
                break
        again = self._again(at, local)
        return found if again is None else again if found is None else min(found, again)

    def _again(self, at: datetime, local: datetime) -> datetime | None:
        """Of the wall times up to this one, the first that comes once more, where clocks are about to be set back."""
        wall = _naive(local)
        if self._unchecked(wall, 1) <= at:
            return None
        begin = self._transition(at, self._unchecked(wall, 1)).astimezone(self._zone)
        first = next(self._walls(_naive(begin) - SECOND), None)
        return self._unchecked(first, 1) if first is not None and first <= wall else None

    def _walls(self, after: datetime) -> Iterator[datetime]:
        if after.year <= YEAR_MAX:
            yield from CronSim(self._text, after)

    def _instant(self, wall: datetime, fold: int) -> datetime | None:
        """The moment at which clocks show a wall time, for the first or the second time; None in a gap."""
        instant = self._unchecked(wall, fold)
        return instant if _naive(instant.astimezone(self._zone)) == wall else None

    def _unchecked(self, wall: datetime, fold: int) -> datetime:
        return wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)

    def _transition(self, low: datetime, high: datetime) -> datetime:
        """The first second of (low, high] at which the offset is no longer that of ``low``; there is one."""
        offset = low.astimezone(self._zone).utcoffset()
        while high - low > SECOND:
            middle = (low + (high - low) / 2).replace(microsecond=0)
            if middle.astimezone(self._zone).utcoffset() == offset:
                low = middle
            else:
                high = middle
        return high


def _naive(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)

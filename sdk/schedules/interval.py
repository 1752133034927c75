"""Interval: every so many milliseconds of time that passes, counted from an anchor. Pure.

A day is 24 hours here; what should come at the same time of day where clocks are set is a matter for cron.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ..moments import EPOCH


class Interval(msgspec.Struct, frozen=True):
    """``every``: more than nothing. ``anchor``: one of the times; there are others before it too."""

    every: timedelta
    anchor: datetime = EPOCH

    def after(self, at: datetime) -> datetime | None:
        """Return the first time later than ``at``; None at the end of all dates."""
        try:
            return self.anchor + ((at - self.anchor) // self.every + 1) * self.every
        except OverflowError:
            return None

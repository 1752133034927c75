"""Durations: ``250ms``, ``30s``, ``10m``, ``1h``, ``2d``, or seconds as a number <-> whole milliseconds."""

from __future__ import annotations

import re

from .limits import DURATION_MS_MAX

DURATION_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d)$"
_WRITTEN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def parse_duration(value: object) -> int | None:
    """Milliseconds from 0 to ``DURATION_MS_MAX``, rounded; None if the value is no duration."""
    if isinstance(value, str):
        written = _WRITTEN.fullmatch(value)
        if not written:
            return None
        amount = float(written[1]) * _UNIT_MS[written[2]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        amount = value * 1_000
    else:
        return None
    return round(amount) if 0 <= amount <= DURATION_MS_MAX else None


def format_duration(ms: int) -> str:
    """The shortest spelling in one unit; ``parse_duration`` gives ``ms`` again."""
    unit = next(unit for unit, size in _UNIT_MS.items() if ms % size == 0 and (ms or unit == "ms"))
    return f"{ms // _UNIT_MS[unit]}{unit}"

"""Shares: the node fields ``concurrency`` and ``rate_limit``, which bound what all runs do together."""

from __future__ import annotations

from .diagnostics import Path
from .findings import Findings
from .reading import read_duration, read_expression, read_fields, read_integer
from .workflow import Json, Pace, Share

SLOTS_MAX = 10_000
RATE_MAX = 1_000_000
PER_MS_MIN = 1


def _slots(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=SLOTS_MAX)


def _rate(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=RATE_MAX)


def _per(value: Json, path: Path, findings: Findings) -> int:
    return read_duration(value, path, findings, low_ms=PER_MS_MIN)


_SHARE_READERS = {"key": read_expression, "limit": _slots, "fair": read_expression}
_PACE_READERS = {"key": read_expression, "limit": _rate, "per": _per}


def read_share(value: Json, path: Path, findings: Findings) -> Share | None:
    """None where it cannot be read, or is ``false``: none, whatever ``defaults`` says."""
    if value is False:
        return None
    fields = read_fields(value, path, findings, _SHARE_READERS, ("key", "limit"))
    if "key" not in fields or "limit" not in fields:
        return None
    return Share(key=fields["key"], limit=fields["limit"], fair=fields.get("fair"))


def read_pace(value: Json, path: Path, findings: Findings) -> Pace | None:
    """None where it cannot be read, or is ``false``: none, whatever ``defaults`` says."""
    if value is False:
        return None
    fields = read_fields(value, path, findings, _PACE_READERS, ("key", "limit", "per"))
    if len(fields) < len(_PACE_READERS):
        return None
    return Pace(key=fields["key"], limit=fields["limit"], per_ms=fields["per"])

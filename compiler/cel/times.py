"""Timestamps and durations with nanoseconds, as CEL has them.

Source: the CEL language definition (timestamps are years 1 to 9999, RFC 3339) and protobuf's range of durations.
No clock, no time-zone files: a routing decision must come out the same on every machine, so a zone is ``UTC`` or a
fixed offset such as ``+05:30``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from .errors import invalid, overflow

SECOND = 1_000_000_000
DAY_SECONDS = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
TIMESTAMP_MIN = (1 - _EPOCH_DAY) * DAY_SECONDS * SECOND
TIMESTAMP_MAX = (date(9999, 12, 31).toordinal() - _EPOCH_DAY + 1) * DAY_SECONDS * SECOND - 1
DURATION_MAX = 315_576_000_000 * SECOND

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_DURATION_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_ZONE = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)
_MAX_TEXT = 64


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """An instant: ``ns`` since 1970-01-01T00:00:00Z."""

    ns: int


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A signed length of time in ``ns``."""

    ns: int


def make_timestamp(ns: int) -> Timestamp:
    if not TIMESTAMP_MIN <= ns <= TIMESTAMP_MAX:
        raise overflow("the timestamp")
    return Timestamp(ns)


def make_duration(ns: int) -> Duration:
    if not -DURATION_MAX <= ns <= DURATION_MAX:
        raise overflow("the duration")
    return Duration(ns)


def parse_timestamp(text: str) -> Timestamp:
    """Read RFC 3339 text, to nanoseconds. Leap seconds are refused."""
    found = _TIMESTAMP.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise invalid(f"not an RFC 3339 timestamp: {text[:_MAX_TEXT]!r}")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, zone_hour, zone_minute = found.groups()[6:]
    offset = 60 * (60 * int(zone_hour) + int(zone_minute)) if sign else 0
    if hour > 23 or minute > 59 or second > 59 or (sign and (int(zone_hour) > 23 or int(zone_minute) > 59)):
        raise invalid(f"no such time: {text!r}")
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise invalid(f"no such date: {text!r}") from None
    seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - (-offset if sign == "-" else offset)
    return make_timestamp(seconds * SECOND + int((fraction or "").ljust(9, "0")))


def format_timestamp(value: Timestamp) -> str:
    """Write RFC 3339 in UTC, with as many decimals as there are."""
    seconds, ns = divmod(value.ns, SECOND)
    days, rest = divmod(seconds, DAY_SECONDS)
    day = date.fromordinal(days + _EPOCH_DAY)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{day.isoformat()}T{clock}{_fraction(ns)}Z"


def parse_duration(text: str) -> Duration:
    """Read ``1h30m``, ``-1.5s``, ``250ms`` ...: numbers with units, largest first by custom only. ``0`` is zero."""
    sign = -1 if text[:1] == "-" else 1
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return Duration(0)
    total, position = 0, 0
    while position < len(body) <= _MAX_TEXT:
        part = _DURATION_PART.match(body, position)
        if part is None or not (part[1] or part[2]):
            break
        unit = _UNITS[part[3]]
        fraction = part[2] or ""
        total += int(part[1] or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        position = part.end()
    if not body or position < len(body):
        raise invalid(f"not a duration: {text[:_MAX_TEXT]!r}; write for example '1h30m' or '2.5s'")
    return make_duration(sign * total)


def format_duration(value: Duration) -> str:
    """Write seconds, such as ``3.5s``, with as many decimals as there are."""
    seconds, ns = divmod(abs(value.ns), SECOND)
    return f"{'-' if value.ns < 0 else ''}{seconds}{_fraction(ns)}s"


def _fraction(ns: int) -> str:
    return f".{ns:09d}".rstrip("0") if ns else ""


def zone_seconds(zone: str) -> int:
    """Read ``UTC``, ``+05:30``, ``-08:00`` or ``02:00`` as seconds east of UTC."""
    if zone in ("UTC", "Z"):
        return 0
    found = _ZONE.fullmatch(zone)
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        raise invalid(f"not a fixed time zone: {zone[:_MAX_TEXT]!r}; write 'UTC' or an offset such as '+05:30'")
    seconds = 3600 * int(found[2]) + 60 * int(found[3])
    return -seconds if found[1] == "-" else seconds


def timestamp_part(name: str, value: Timestamp, zone: str = "UTC") -> int:
    """Read one calendar part, for example ``getMonth`` (from 0) or ``getDate`` (from 1)."""
    seconds, ns = divmod(value.ns, SECOND)
    days, rest = divmod(seconds + zone_seconds(zone), DAY_SECONDS)
    if name in _CLOCK:
        return {"getHours": rest // 3600, "getMinutes": rest // 60 % 60, "getSeconds": rest % 60}.get(
            name, ns // 1_000_000
        )
    ordinal = days + _EPOCH_DAY
    if not 1 <= ordinal <= date.max.toordinal():
        raise overflow("the timestamp in this zone")
    day = date.fromordinal(ordinal)
    return {
        "getFullYear": day.year,
        "getMonth": day.month - 1,
        "getDate": day.day,
        "getDayOfMonth": day.day - 1,
        "getDayOfWeek": ordinal % 7,
        "getDayOfYear": day.timetuple().tm_yday - 1,
    }[name]


_CLOCK = frozenset({"getHours", "getMinutes", "getSeconds", "getMilliseconds"})
_DURATION_PARTS = {"getHours": 3600 * SECOND, "getMinutes": 60 * SECOND, "getSeconds": SECOND}


def duration_part(name: str, value: Duration) -> int:
    """Count whole hours, minutes or seconds, toward zero; ``getMilliseconds`` is the part below a second."""
    size = abs(value.ns)
    unit = _DURATION_PARTS.get(name)
    count = size // unit if unit else size % SECOND // 1_000_000
    return -count if value.ns < 0 else count

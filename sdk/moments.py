"""Moments: in milliseconds since the epoch, and as people and programs are shown them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def from_ms(at_ms: int) -> datetime:
    """Raises OverflowError where no date can say it."""
    return EPOCH + timedelta(milliseconds=at_ms)


def to_ms(at: datetime) -> int:
    """Whole milliseconds since the epoch; exact for what ``from_ms`` made."""
    return (at - EPOCH) // _MS


def iso_text(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as all that people and programs are shown."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

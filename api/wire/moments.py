"""Times as they travel: ISO 8601 in UTC with milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from ...sdk.moments import iso_text

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-31T12:00:00.000Z"])]


def at_of(moment: Moment) -> datetime:
    return datetime.fromisoformat(moment)


def moment(at: datetime | None) -> Moment | None:
    return None if at is None else iso_text(at)

"""Times as they travel: ISO 8601 in UTC with milliseconds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-31T12:00:00.000Z"])]

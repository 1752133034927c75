"""Days: times of day stand alone, and their date before them, where it is not that of the line before."""

from __future__ import annotations

from datetime import UTC, datetime

from click import style

from .output import Output


class Days:
    """Where the lines go. today: the date of which nothing is said at first."""

    def __init__(self, out: Output, today: str | None = None) -> None:
        self._out = out
        self._day = today or datetime.now(UTC).date().isoformat()

    def tell(self, at: str) -> None:
        """Say the date, if need be, before a line of that moment (ISO 8601)."""
        if at[:10] != self._day:
            self._day = at[:10]
            self._out.text(style(self._day, dim=True))

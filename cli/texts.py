"""Small texts for people: durations, ages, times, lists. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from ..sdk.moments import iso_text

LINES_MAX = 12


def duration_text(seconds: float) -> str:
    """``850ms``, ``2.4s``, ``2m 34s``, ``3h 5m``, ``2d 4h``."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86_400:
        return f"{whole // 3_600}h {whole % 3_600 // 60}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3_600}h"


def age_text(seconds: float) -> str:
    """``just now``, ``1 minute ago``, ``3 hours ago``."""
    whole = int(max(0.0, seconds))
    if whole < 5:
        return "just now"
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if whole >= size:
            count = whole // size
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    raise AssertionError("a second fits into every age")


def iso(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds: ``2026-01-31T12:00:00.000Z``."""
    return None if at is None else iso_text(at)


def count_text(number: int, word: str, words: str = "") -> str:
    """``1 node``, ``3 nodes``. words: of several, where that is not the word and an s."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"


def list_text(words: Sequence[str], limit: int = 8) -> str:
    """``a, b, c and 4 more``."""
    if len(words) <= limit:
        return ", ".join(words)
    return f"{', '.join(words[:limit])} and {len(words) - limit} more"


def cut_lines(text: str, limit: int = LINES_MAX) -> str:
    """The first lines of a text."""
    lines = text.strip().splitlines()
    return "\n".join(lines[:limit]) + ("\n..." if len(lines) > limit else "")


def printable(text: str) -> str:
    """The text without what would steer a terminal: a control character is shown by its escape."""
    return "".join(each if each in "\n\t" or each.isprintable() else repr(each)[1:-1] for each in text)


def json_text(value: object) -> str:
    """A string as it is, any other JSON value as JSON on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def json_lines(value: object) -> str:
    """A string as it is, any other JSON value indented."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def cut(text: str, width: int) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"

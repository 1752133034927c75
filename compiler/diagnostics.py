"""Diagnostics: what is wrong with a document, all at once, each with its place and a hint.

A ``Path`` names a place inside the document as keys and indexes (``("nodes", 3, "config", "url")``); the loader
knows the line and column of each. Codes are lower-case words joined by ``_``; they are listed in
``docs/reference/diagnostics.md``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeAlias

import msgspec

Path: TypeAlias = tuple[str | int, ...]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. ``line`` and ``column`` count from 1, 0 where the document has no lines (a Python value)."""

    code: str
    message: str
    severity: Severity = Severity.ERROR
    path: Path = ()
    hint: str = ""
    line: int = 0
    column: int = 0


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    return any(d.severity is Severity.ERROR for d in diagnostics)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the nearest known word, or nothing."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Say ``did you mean 'x'?`` for the nearest known word, or nothing."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else ""

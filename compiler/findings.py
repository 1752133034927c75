"""Findings: diagnostics as they are collected, with a bound on their number and on the work spent on suggestions.

A hostile document can be wrong in a million places; a report of a million lines, or an hour spent on looking for
similar words, helps nobody. Past ``FINDINGS_MAX`` errors further ones are counted, not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .diagnostics import Diagnostic, Path, Severity, has_errors, nearest

FINDINGS_MAX = 500
SUGGESTION_WORDS_MAX = 200_000
"""Comparisons of words that one document may cost, over all its suggestions."""
WORD_CHARS_MAX = 128
CLIP_CHARS = 80


def quote(value: object) -> str:
    """Show a value of the document in a message, at most ``CLIP_CHARS`` characters of it."""
    text = repr(value[:CLIP_CHARS] if isinstance(value, str) else value)
    return text if len(text) <= CLIP_CHARS + 2 else text[:CLIP_CHARS] + "..."


class Findings:
    """Collects diagnostics in the order in which they are found."""

    def __init__(self) -> None:
        self._kept: list[Diagnostic] = []
        self._dropped = 0
        self.moved: dict[Path, Path] = {}
        """Where a field stands that was misspelt, by where it would stand."""
        self._words_left = SUGGESTION_WORDS_MAX

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._kept)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic, or count it where too many are kept already."""
        if len(self._kept) < FINDINGS_MAX:
            self._kept.append(diagnostic)
        else:
            self._dropped += 1

    def error(self, code: str, message: str, path: Path = (), hint: str = "", at: tuple[int, int] = (0, 0)) -> None:
        """``at``: line and column from 1, where they are known already."""
        line, column = at
        self.add(Diagnostic(code=code, message=message, path=path, hint=hint, line=line, column=column))

    def warning(self, code: str, message: str, path: Path = (), hint: str = "") -> None:
        """Keep a warning: the document still means something."""
        self.add(Diagnostic(code=code, message=message, path=path, hint=hint, severity=Severity.WARNING))

    def nearest(self, word: object, known: Collection[str]) -> str:
        """Return the known word that is nearest, or nothing when none is near or the budget is spent."""
        if not isinstance(word, str) or len(word) > WORD_CHARS_MAX or len(known) > self._words_left:
            return ""
        self._words_left -= len(known)
        return nearest(word, known)

    def suggest(self, word: object, known: Collection[str]) -> str:
        """``did you mean ...?``, or nothing."""
        near = self.nearest(word, known)
        return f"did you mean {near!r}?" if near else ""

    @property
    def is_cut(self) -> bool:
        """Whether there were more than are kept."""
        return self._dropped > 0

    def has_errors(self) -> bool:
        """Whether the document can not be used."""
        return has_errors(self._kept)

    def all(self) -> list[Diagnostic]:
        """What was found; the last entry tells how many more there were."""
        if not self._dropped:
            return list(self._kept)
        more = Diagnostic(code="too_many_findings", message=f"{self._dropped} more findings are not shown")
        return [*self._kept, more]

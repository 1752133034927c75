"""Leftovers: what a token that goes leaves behind in its run, as operations that take it away."""

from __future__ import annotations

from ..sdk.floor.calling import Word
from ..sdk.marking.marking import TokenKind
from ..sdk.marking.plan import value_field
from .work import Work


def value_of(work: Work) -> list[Word]:
    """The value that its release has brought is not needed any more."""
    if work.kind is not TokenKind.NORMAL or not work.has_value:
        return []
    return ["-", value_field(work.number, work.scope)]


def of(work: Work) -> list[Word]:
    """What a token that goes leaves behind: its value, its slot to the next, and details of heartbeats."""
    if work.number < 0:
        return []
    words: list[Word] = [*value_of(work), *(("u", work.node.mutex) if work.node.mutex else ())]
    return [*words, "-", f"d{work.key}"] if work.has_report else words

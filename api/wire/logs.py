"""Step logs as they travel: lines, gaps where lines were lost, and partial text of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.logs.step_lines import Piece, StepLine, shown_fields
from ...sdk.moments import from_ms, iso_text
from ...sdk.sealing.sealing import shown_text
from .events import Numbers
from .moments import Moment


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """``lines``: of type ``lost``, how many. ``fields``: what stands beside the text of a line.

    ``text``: of type ``partial``, a piece of an answer; empty where the attempt is over.
    """

    type: Literal["line", "lost", "partial"]
    at: Moment
    step: str
    scope: str
    attempt: int
    worker: str | UnsetType = UNSET
    level: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    fields: dict[str, Any] | UnsetType = UNSET
    lines: int | UnsetType = UNSET


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps of a run have said until now, by time; the last of it where it is more than was asked for."""

    run_id: str
    lines: list[Said]


class SaidReader:
    """Makes what steps say fit to travel; notices lines that were lost."""

    def __init__(self, numbers: Numbers, told: Mapping[int, int] = {}) -> None:
        """told: by source, the number of the line that was told last."""
        self._names = numbers
        self._numbers = dict(told)

    def is_early(self, piece: Piece) -> bool:
        """Return whether a line is still to come that was said before a piece of text."""
        return piece.after > self._numbers.get(piece.source, 0)

    def said(self, found: StepLine | Piece) -> Iterator[Said]:
        head: dict[str, Any] = {
            "at": iso_text(from_ms(found.at_ms)),
            "step": found.node,
            "scope": self._names.scope(found.node, found.scope),
            "attempt": found.attempt,
        }
        if isinstance(found, Piece):
            if found.text or found.is_last:
                yield Said(type="partial", text=shown_text(found.text), **head)
            return
        head["worker"] = found.worker
        lost = found.number - self._numbers.get(found.source, 0) - 1
        self._numbers[found.source] = found.number
        if lost > 0:
            yield Said(type="lost", lines=lost, **head)
        text, fields = shown_text(found.text), shown_fields(found.fields)
        yield Said(type="line", level=found.level, text=text, fields=dict(fields), **head)

"""Log view: step logs as people and programs see them, line by line, and partial text as it comes."""

from __future__ import annotations

import msgspec
from click import style

from ...api.wire.logs import Said
from ..days import Days
from ..output import Output
from ..texts import json_text, printable

Source = tuple[str, str, int]
"""Step, scope and attempt."""
COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
WHERE_WIDTH = 16
INDENT = " " * (12 + 2 + WHERE_WIDTH)
BAR = "│ "
HELD_CHARS = 60


class LogView:
    """Writes what steps say. ``close`` ends the line that partial text may have left open.

    While the answer of one step is shown as it comes, those of others wait until they have a line, or enough of one.
    """

    def __init__(self, out: Output, today: str | None = None) -> None:
        """today: see ``Days``."""
        self._out = out
        self._days = Days(out, today)
        self._open: Source | None = None
        self._held: dict[Source, tuple[Said, str]] = {}
        self._is_silent = True

    def show(self, said: Said) -> None:
        self._is_silent = False
        if self._out.is_json:
            if said.type != "partial" or said.text:
                self._out.json(msgspec.to_builtins(said))
        elif said.type == "line":
            self._show_line(said)
        elif said.type == "lost":
            self._show_lost(said)
        elif said.text:
            self._show_piece(said, said.text)
        else:
            self._release(_source(said))
            self._end_line()

    def close(self) -> None:
        for source in list(self._held):
            self._release(source)
        self._end_line()
        if self._is_silent:
            self._out.step("no step has said anything: 'context.log' of a step does, and models do")

    def _begin(self, said: Said) -> None:
        self._end_line()
        self._days.tell(said.at)

    def _end_line(self) -> None:
        if self._open is not None:
            self._out.text()
            self._open = None

    def _release(self, source: Source) -> None:
        """Show what was held back of one answer."""
        if source in self._held:
            self._write_piece(*self._held.pop(source))

    def _show_line(self, line: Said) -> None:
        self._release(_source(line))
        self._begin(line)
        first, *rest = printable(line.text or "").splitlines() or [""]
        level = line.level or ""
        colour = COLOURS.get(level)
        word = f"{level}: " if level not in ("info", "debug") else ""
        fields = line.fields or {}
        shown = "  ".join(f"{printable(name)}={printable(json_text(value))}" for name, value in fields.items())
        tail = f"  {style(shown, dim=True)}" if shown else ""
        self._out.text(f"{_where(line)}{style(word + first, fg=colour)}{tail}")
        for more in rest:
            self._out.text(f"{INDENT}{style(more, fg=colour)}")

    def _show_piece(self, piece: Said, text: str) -> None:
        source = _source(piece)
        if self._open in (None, source):
            self._write_piece(piece, text)
            return
        first, held = self._held.get(source, (piece, ""))
        self._held[source] = (first, held + text)
        if len(held) + len(text) >= HELD_CHARS or "\n" in text:
            self._release(source)

    def _write_piece(self, piece: Said, text: str) -> None:
        if self._open != _source(piece):
            self._begin(piece)
            self._out.part(f"{_where(piece)}{style(BAR, dim=True)}")
            self._open = _source(piece)
        self._out.part(printable(text).replace("\n", f"\n{INDENT}{style(BAR, dim=True)}"))

    def _show_lost(self, lost: Said) -> None:
        self._begin(lost)
        told = "a line was lost here" if lost.lines == 1 else f"{lost.lines or 0:,} lines were lost here"
        self._out.text(f"{_where(lost)}{style(f'({told})', fg='yellow')}")


def _source(said: Said) -> Source:
    return said.step, said.scope, said.attempt


def _where(said: Said) -> str:
    tried = f"(attempt {said.attempt})" if said.attempt > 1 else ""
    where = " ".join(word for word in (said.step, said.scope, tried) if word)
    return f"{style(said.at[11:-1], dim=True)}  {where.ljust(WHERE_WIDTH - 2)}  "

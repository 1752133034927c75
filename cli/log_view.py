"""Log view: step logs as people and programs see them, line by line, and partial text as it comes."""

from __future__ import annotations

from click import style

from ..compiler.ir import Ir
from ..sdk.scopes import parse_scope_key, scope_text
from ..sdk.sealing import shown_text
from ..sdk.step_lines import Piece, StepLine, shown_fields
from ..sdk.stores.connection import from_ms
from .output import Output
from .texts import iso, json_text, printable

COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
WHERE_WIDTH = 16
INDENT = " " * (12 + 2 + WHERE_WIDTH)
BAR = "│ "
HELD_CHARS = 60


class LogView:
    """Writes what steps say. ``close`` ends the line that partial text may have left open.

    While the answer of one step is shown as it comes, those of others wait until they have a line, or enough of one.
    """

    def __init__(self, out: Output, ir: Ir | None) -> None:
        self._out = out
        self._ir = ir
        self._nodes = {} if ir is None else {node.id: number for number, node in enumerate(ir.nodes)}
        self._numbers: dict[int, int] = {}
        self._open = 0
        self._held: dict[int, tuple[Piece, str]] = {}

    def show(self, said: StepLine | Piece) -> None:
        if isinstance(said, StepLine):
            self._show_line(said)
        elif said.text:
            self._show_piece(said)
        else:
            self._release(said.source)
            self._end_line()

    def close(self) -> None:
        for source in list(self._held):
            self._release(source)
        self._end_line()

    def _end_line(self) -> None:
        if self._open:
            self._out.text()
            self._open = 0

    def _release(self, source: int) -> None:
        """Show what was held back of one answer."""
        piece, text = self._held.pop(source, (None, ""))
        if piece is not None:
            self._write_piece(piece, text)

    def _show_line(self, line: StepLine) -> None:
        lost = line.number - self._numbers.get(line.source, 0) - 1
        self._numbers[line.source] = line.number
        if lost > 0:
            self._show_lost(line, lost)
        text, fields = shown_text(line.text), shown_fields(line.fields)
        if self._out.is_json:
            self._out.json(self._head(line, "line") | {"level": line.level, "text": text, "fields": fields})
            return
        self._release(line.source)
        self._end_line()
        first, *rest = printable(text).splitlines() or [""]
        colour = COLOURS.get(line.level)
        level = f"{line.level}: " if line.level not in ("info", "debug") else ""
        shown = "  ".join(f"{printable(name)}={printable(json_text(value))}" for name, value in fields.items())
        tail = f"  {style(shown, dim=True)}" if shown else ""
        self._out.text(f"{self._where(line)}{style(level + first, fg=colour)}{tail}")
        for more in rest:
            self._out.text(f"{INDENT}{style(more, fg=colour)}")

    def _show_piece(self, piece: Piece) -> None:
        text = shown_text(piece.text)
        if self._out.is_json:
            self._out.json(self._head(piece, "partial") | {"text": text})
            return
        if self._open in (0, piece.source):
            self._write_piece(piece, text)
            return
        first, held = self._held.get(piece.source, (piece, ""))
        self._held[piece.source] = (first, held + text)
        if len(held) + len(text) >= HELD_CHARS or "\n" in text:
            self._release(piece.source)

    def _write_piece(self, piece: Piece, text: str) -> None:
        if piece.source != self._open:
            self._end_line()
            self._out.part(f"{self._where(piece)}{style(BAR, dim=True)}")
            self._open = piece.source
        self._out.part(printable(text).replace("\n", f"\n{INDENT}{style(BAR, dim=True)}"))

    def _show_lost(self, line: StepLine, lost: int) -> None:
        if self._out.is_json:
            self._out.json(self._head(line, "lost") | {"lines": lost})
            return
        self._end_line()
        told = "a line was lost here" if lost == 1 else f"{lost:,} lines were lost here"
        self._out.text(f"{self._where(line)}{style(f'({told})', fg='yellow')}")

    def _where(self, said: StepLine | Piece) -> str:
        at = (iso(from_ms(said.at_ms)) or "")[11:-1]
        tried = f"(attempt {said.attempt})" if said.attempt > 1 else ""
        where = " ".join(word for word in (said.node, self._scope(said), tried) if word)
        return f"{style(at, dim=True)}  {where.ljust(WHERE_WIDTH - 2)}  "

    def _head(self, said: StepLine | Piece, kind: str) -> dict[str, object]:
        head: dict[str, object] = {"type": kind, "at": iso(from_ms(said.at_ms)), "step": said.node}
        head |= {"scope": self._scope(said), "attempt": said.attempt}
        return head | ({"worker": said.worker} if isinstance(said, StepLine) else {})

    def _scope(self, said: StepLine | Piece) -> str:
        number = self._nodes.get(said.node)
        if self._ir is None or number is None or not said.scope:
            return said.scope
        return scope_text(self._ir, number, parse_scope_key(said.scope))

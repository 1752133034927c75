"""Output: results to stdout, everything else to stderr; colour only on a terminal that wants it.

Under ``--json`` stdout holds JSON alone, one object a line; texts for people are dropped there. ``NO_COLOR`` and
``TERM=dumb`` turn colour off (https://no-color.org).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from typing import IO

from click import style, unstyle

WIDTH_MIN = 40
GLYPHS = {"ok": ("✓", "green"), "error": ("✗", "red"), "warning": ("!", "yellow"), "idle": ("·", None)}
STATUS_COLOURS = {
    "COMPLETED": "green",
    "SUCCEEDED": "green",
    "RUNNING": "cyan",
    "READY": "cyan",
    "WAITING": "yellow",
    "PAUSED": "yellow",
    "RETRYING": "yellow",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "CANCELLED": "magenta",
}


class ReaderGone(Exception):
    """Whoever read our output has left, as ``head`` does: nobody is left to be told anything."""


class Output:
    """Where a command writes. ``stdout`` and ``stderr`` may be given for tests."""

    def __init__(self, *, is_json: bool = False, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> None:
        self.is_json = is_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self.is_colour = wants_colour(self._stdout)
        self.is_error_colour = wants_colour(self._stderr)
        self.is_error_terminal = is_terminal(self._stderr)

    @property
    def is_terminal(self) -> bool:
        return is_terminal(self._stdout)

    @property
    def width(self) -> int:
        return max(WIDTH_MIN, shutil.get_terminal_size((80, 24)).columns) if self.is_terminal else 10_000

    def aside(self) -> AbstractContextManager[object]:
        """While code of users runs here: what it prints goes to stderr, for stdout is for results."""
        return redirect_stdout(self._stderr)

    def json(self, value: Mapping[str, object]) -> None:
        """Write one object as one line; only under ``--json``."""
        if self.is_json:
            _write(self._stdout, json.dumps(value, ensure_ascii=False, default=str))

    def text(self, line: str = "") -> None:
        """Write a line for people, unless stdout is for JSON."""
        if not self.is_json:
            _write(self._stdout, line if self.is_colour else unstyle(line))

    def part(self, text: str) -> None:
        """Write a part of a line for people; ``text`` ends it."""
        if not self.is_json:
            _write(self._stdout, text if self.is_colour else unstyle(text), end="")

    def value(self, value: object) -> None:
        """Write a JSON value for people: indented."""
        self.text(json.dumps(value, ensure_ascii=False, indent=2, default=str))

    def note(self, line: str) -> None:
        """Write a line to stderr, in both modes."""
        _write(self._stderr, line if self.is_error_colour else unstyle(line))

    def step(self, line: str) -> None:
        """Write that something begins or was reached: to stderr, and only for people."""
        if not self.is_json:
            self.note(style(line, dim=True))

    def next(self, command: str) -> None:
        """End with the next useful command."""
        self.text(f"{style('next:', dim=True)} {command}")

    def error(self, code: str, message: str, hint: str) -> None:
        """Tell a failure: as one object on stdout under ``--json``, else on stderr."""
        if self.is_json:
            self.json({"error": {"code": code, "message": message, "hint": hint}})
            return
        first, *rest = message.splitlines() or [code]
        self.note(f"{style('error:', fg='red', bold=True)} {first}")
        for line in rest:
            self.note(f"  {line}")
        if hint:
            self.note(f"{style('hint:', fg='cyan')} {hint}")

    def glyph(self, kind: str) -> str:
        """``ok``, ``error``, ``warning`` or ``idle``."""
        sign, colour = GLYPHS[kind]
        return style(sign, fg=colour)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write aligned columns; on a terminal the last one is cut at its edge. Cells may be styled."""
        if self.is_json:
            return
        lines = [[style(header, bold=True) for header in headers], *rows]
        widths = [max(len(unstyle(line[place])) for line in lines) for place in range(len(headers))]
        room = self.width
        for line in lines:
            padded = [cell + " " * (width - len(unstyle(cell))) for cell, width in zip(line, widths, strict=True)]
            text = "  ".join(padded).rstrip()
            self.text(text if len(unstyle(text)) <= room else _cut_styled(padded, room))


def status_text(status: str) -> str:
    return style(status, fg=STATUS_COLOURS.get(status), bold=status in ("FAILED", "TIMED_OUT"))


def is_terminal(stream: IO[str]) -> bool:
    return stream.isatty()


def wants_colour(stream: IO[str]) -> bool:
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _cut_styled(cells: Sequence[str], room: int) -> str:
    """The cells that fit, the last of them cut and without its style."""
    kept: list[str] = []
    for cell in cells:
        text = unstyle(cell)
        width = len(text)
        if len(text.rstrip()) > room:
            kept.append(text[: max(0, room - 1)] + "…")
            break
        kept.append(cell)
        room -= width + 2
        if room <= 0:
            break
    return "  ".join(kept).rstrip()


def _write(stream: IO[str], line: str, end: str = "\n") -> None:
    """Text that the stream's encoding lacks is written with escapes rather than not at all. Raises ReaderGone."""
    try:
        try:
            stream.write(line + end)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + end)
        stream.flush()
    except BrokenPipeError as cause:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes once more at exit
        raise ReaderGone from cause

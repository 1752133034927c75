"""Live progress of a run on stderr: redrawn in place where rich is installed and the terminal can do so, else line by
line.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from click import style, unstyle

from ..api.reading.steps import NOT_REACHED
from ..api.wire.runs import RunShown
from ..api.wire.steps import Step
from .output import Output
from .views.run import head_lines, step_lines, utc_now
from .views.steps import ENDED, progress_text, step_line

if TYPE_CHECKING:
    from rich.live import Live

ROWS_KEPT = 7
"""Lines of a screen that are not for steps."""
LABEL_WIDTH = 20
DUMB = ("dumb", "unknown")
"""Terminals on which nothing can be redrawn."""


class Progress:
    """Context manager; ``show`` the run as often as it is read. Under ``--json`` only a terminal sees anything."""

    def __init__(self, out: Output, *, has_head: bool = False) -> None:
        self._out = out
        self._has_head = has_head
        self._told: dict[tuple[str, str], str] = {}
        self._status = ""
        self._live: Live | None = None
        self._frame = 0

    def __enter__(self) -> Self:
        if self._out.is_error_terminal and os.environ.get("TERM") not in DUMB:
            with suppress(ImportError):
                live = _make_live(is_colour=self._out.is_error_colour)
                live.start()
                self._live = live
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, run: RunShown) -> None:
        if self._live is not None:
            self._redraw(self._live, run)
        elif not self._out.is_json:
            self._tell(run)

    def _redraw(self, live: Live, run: RunShown) -> None:
        from rich.text import Text

        self._frame += 1
        columns, rows = shutil.get_terminal_size((80, 24))
        now = utc_now()
        lines = head_lines(run, now) if self._has_head else [f"{run.run_id}  {progress_text(run.steps)}"]
        lines += step_lines(run, now, width=columns - 1, rows_max=max(3, rows - ROWS_KEPT), frame=self._frame)
        text = "\n".join(lines)
        drawn = Text.from_ansi(text if self._out.is_error_colour else unstyle(text))
        drawn.no_wrap = True
        drawn.overflow = "ellipsis"
        live.update(drawn, refresh=True)

    def _tell(self, run: RunShown) -> None:
        """One line for every change since the last look."""
        if self._status != str(run.status):
            self._status = str(run.status)
            self._out.note(style(f"{run.run_id} {self._status}", dim=True))
        for step in run.steps:
            if self._is_news(step):
                self._out.note(step_line(step, utc_now(), width=100, label_width=LABEL_WIDTH))

    def _is_news(self, step: Step) -> bool:
        said = f"{step.status} {step.attempts}"
        is_old = self._told.get((step.id, step.scope)) == said
        self._told[step.id, step.scope] = said
        is_silent = step.started_at is None and step.status not in ENDED
        return not is_old and not is_silent and step.reason != NOT_REACHED


def _make_live(*, is_colour: bool) -> Live:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, no_color=not is_colour, highlight=False)
    return Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

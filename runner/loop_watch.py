"""A watch over a worker's event loop: whether it answers, for how long it has not, and which step keeps it from that.

A thread looks. It counts its own looks, and never more than ``LOOK_S_MAX`` for one: a process that was stopped as a
whole, or got no processor, has blocked nothing.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from ..sdk.outcomes.outcomes import OURS

if TYPE_CHECKING:
    from types import FrameType

    from .work import Work

LOOK_S = 0.5
LOOK_S_MAX = 1.0
TOLD_AFTER_S = 1.0
"""So long a loop may do one thing before the log says so."""
WAITING = frozenset({*OURS, "selectors"})
"""A loop that has nothing to do, and does not hear that it has: the machine is slow."""
HINT = "an async step must not block: await what takes long, or make it a plain def or isolation='process'"
log = structlog.get_logger()
Find = Callable[["asyncio.Task[Any] | None"], "Work | None"]


class LoopWatch:
    """``blocked_s``: for how long the loop has not answered. ``blocker``: the work whose attempt keeps it from that,
    None where nobody can tell; ``place``: the line of it.

    ``worker``: as the log names it. ``find``: the work of a task. ``look`` is for one thread; all else is read by any.
    """

    def __init__(self, worker: str, find: Find) -> None:
        self._worker = worker
        self._find = find
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._has_answered = True
        self._looked_at = 0.0
        self._is_told = False
        self.blocked_s = 0.0
        self.blocker: Work | None = None
        self.place = ""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop's own thread."""
        self._loop, self._thread = loop, threading.get_ident()
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Ask the loop, or count that it still has not answered. Raises RuntimeError for a loop that is closed."""
        assert self._loop is not None
        now = time.monotonic()
        passed_s, self._looked_at = min(LOOK_S_MAX, now - self._looked_at), now
        if self._has_answered:
            if self._is_told:
                log.warning("loop_answers_again", worker=self._worker, blocked_ms=int(self.blocked_s * 1000))
            self.blocked_s, self._is_told, self.blocker, self.place = 0.0, False, None, ""
            self._has_answered = False
            self._loop.call_soon_threadsafe(self._answer)
            return
        self.blocked_s += passed_s
        if self.blocked_s >= TOLD_AFTER_S:
            self.blocker, self.place = self._find(asyncio.current_task(self._loop)), self._place()
            if not self._is_told:
                self._is_told = True
                self._tell()

    def _answer(self) -> None:
        self._has_answered = True

    def _tell(self) -> None:
        """A warning, but where nobody's code is there to be seen: then the machine is slow."""
        facts: dict[str, object] = {"worker": self._worker, "blocked_ms": int(self.blocked_s * 1000)}
        if self.blocker is not None:
            work = self.blocker
            facts |= {"run_id": work.run_id, "node": work.node.id, "attempt": work.attempt, "hint": HINT}
        if self.place:
            facts["at"] = self.place
        (log.info if len(facts) == 2 else log.warning)("loop_blocked", **facts)

    def _place(self) -> str:
        """The line where the step is, between our own frames and those of what it calls; empty where there is none."""
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way  # pyright: ignore[reportPrivateUsage]
        frame: FrameType | None = frames.get(self._thread)
        found: FrameType | None = None
        while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] not in WAITING:
            found, frame = frame, frame.f_back
        return "" if found is None else f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_qualname}"

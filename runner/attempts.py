"""Attempts: the steps that a worker has under way, and what ends them before they end by themselves.

Async handlers are cancelled. Plain ones in threads cannot be: they are abandoned, and what they return is void.
All times are of this process' monotonic clock: only durations are measured with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum

from .work import Work

STARTED_AFTER_S = 0.1
"""An attempt that runs longer says so with an event of its own."""


class Ending(Enum):
    """Why an attempt was ended from outside."""

    LOST = "lost"
    """Its token is another worker's, or gone: nothing of it counts."""
    DRAINED = "drained"
    """Its run drains."""
    OVERDUE = "overdue"
    SILENT = "silent"
    """It has not shown a sign of life for too long."""
    GIVEN_BACK = "given back"
    """This worker stops."""


class Attempts:
    """The attempts of one lane. Touched by the loop alone, but for ``find``, which may be called from any thread."""

    def __init__(self, *, cancel_grace_s: float) -> None:
        self._cancel_grace_s = cancel_grace_s
        self._running: dict[tuple[str, str], Work] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, work: Work) -> None:
        """Note an attempt, and when its time is up."""
        work.started_at = time.monotonic()
        node = work.node
        if node.timeout_ms is not None:
            work.ends_at = (work.received_at or work.started_at) + node.timeout_ms / 1000
        if node.heartbeat_timeout_ms is not None:
            work.beaten_at = work.started_at
        self._running[work.run_id, work.key] = work

    def finish(self, work: Work) -> None:
        self._running.pop((work.run_id, work.key), None)

    def find(self, run_id: str, key: str, fence: str) -> Work | None:
        """Return the attempt at a token, if it is this token and not a later one of its place."""
        work = self._running.get((run_id, key))
        return work if work is not None and work.fence == fence else None

    def end(self, work: Work, ending: Ending) -> None:
        """Cancel an attempt. The first reason counts, but that a lost one is lost."""
        if work.ending is None or ending is Ending.LOST:
            work.ending = ending
        if work.cancel_scope is not None:
            work.cancel_scope.cancel()

    def tell_to_end(self, work: Work) -> None:
        """Ask a handler to end by itself: it is cancelled after the grace time."""
        if not work.is_told:
            work.is_told = True
            work.told_at = time.monotonic()

    def give_back(self) -> None:
        """End all: this worker stops."""
        for work in list(self._running.values()):
            self.end(work, Ending.GIVEN_BACK)

    def tend(self) -> Iterator[Work]:
        """End what is overdue by now; return what runs for so long that the log shall know."""
        now = time.monotonic()
        for work in list(self._running.values()):
            if work.is_told and now > work.told_at + self._cancel_grace_s:
                self.end(work, Ending.DRAINED)
            silent_ms = work.node.heartbeat_timeout_ms
            if silent_ms is not None and now > work.beaten_at + silent_ms / 1000:
                self.end(work, Ending.SILENT)
            if not work.is_announced and work.started_at < now - STARTED_AFTER_S:
                work.is_announced = True
                yield work

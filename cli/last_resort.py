"""A last resort: a worker whose loop is blocked hears neither signals nor the end of its parent, and ends all the same.

Signals are noted by Python's own handlers, which run between two instructions of whatever blocks the loop, and acted on
by a thread. Where the loop answers nothing is done: it ends the worker in its own way.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from .exits import ExitCode

LOOK_S = 0.25
DEAF_S = 1.0
"""A loop that is blocked for so long has not heard a second signal."""
log = structlog.get_logger()


class LastResort:
    """``blocked_s``: for how long the loop has not answered. ``grace_s``: how long after it was asked to end a worker
    waits for a blocked one. ``has_parent``: the end of standard input asks it, too.
    """

    def __init__(self, blocked_s: Callable[[], float], grace_s: float, *, has_parent: bool) -> None:
        self._blocked_s = blocked_s
        self._grace_s = grace_s
        self._has_parent = has_parent
        self._asked = 0
        self._asked_at = 0.0

    def watch(self) -> None:
        """From now on, until the process ends. In the main thread, when the loop's own handlers are there."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        threading.Thread(target=self._look, name="courante-last-resort", daemon=True).start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """The loop is told by the same signal in its own way, and may hear of it."""
        del number, frame
        self._ask()

    def _ask(self) -> None:
        self._asked_at = self._asked_at or time.monotonic()
        self._asked += 1

    def _look(self) -> None:
        while True:
            if self._has_parent and select.select([sys.stdin], [], [], LOOK_S)[0]:
                self._has_parent = False
                self._ask()
            else:
                time.sleep(LOOK_S)
            if not self._asked:
                continue
            deaf_s = min(self._blocked_s(), time.monotonic() - self._asked_at)
            if deaf_s > (DEAF_S if self._asked > 1 else self._grace_s):
                log.critical(
                    "loop_does_not_hear", deaf_ms=int(deaf_s * 1000), hint="what it holds is taken over by others"
                )
                os._exit(ExitCode.INTERRUPTED)

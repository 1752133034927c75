"""Cancellation: tells a running step that its work is not wanted any more. Set once, from any thread, and never unset.

An ``async`` step awaits it, a plain one in its thread looks at it or waits for it. Cheap to make: every step has one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any

_LOCK = threading.Lock()
"""One for all of them: held for as long as it takes to add to a tuple."""


class CancelReason(StrEnum):
    """Why: a command or the end of its run; its time is up; another worker has its token; its worker stops."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LEASE_LOST = "lease_lost"
    STOPPING = "stopping"


class Cancellation:
    """Used like an event: ``is_set``, ``wait`` in a thread, ``await`` in a coroutine.

    ``told``: the reason, for the engine. ``is_heard``: whether the step has been told of it, by any of these.
    """

    __slots__ = ("_wakes", "is_heard", "told")

    def __init__(self) -> None:
        self.told: CancelReason | None = None
        self.is_heard = False
        self._wakes: tuple[Callable[[], object], ...] = ()

    @property
    def reason(self) -> CancelReason | None:
        """Why it was cancelled; None if it was not. Who reads it has heard of it."""
        if self.told is not None:
            self.is_heard = True
        return self.told

    def set(self, reason: CancelReason) -> None:
        """Tell everybody who waits. The first reason stays. May be called from any thread, and never blocks."""
        with _LOCK:
            if self.told is not None:
                return
            self.told = reason
            wakes, self._wakes = self._wakes, ()
        for wake in wakes:
            wake()

    def is_set(self) -> bool:
        return self.reason is not None

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self._wakes)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait in this thread, at most so long, and tell whether it is set. For plain steps: it blocks a loop."""
        event = threading.Event()
        with self._heard(event.set):
            event.wait(timeout_s)
        return self.is_set()

    def __await__(self) -> Generator[Any, None, CancelReason]:
        return self._wait().__await__()

    async def _wait(self) -> CancelReason:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has been closed: nobody waits on it any more
                loop.call_soon_threadsafe(event.set)

        with self._heard(wake):
            await event.wait()
        reason = self.reason
        assert reason is not None
        return reason

    @contextmanager
    def _heard(self, wake: Callable[[], object]) -> Generator[None]:
        """Call ``wake`` when it is set, at once if it is, and not after this."""
        with _LOCK:
            is_set = self.told is not None
            if not is_set:
                self._wakes = (*self._wakes, wake)
        if is_set:
            wake()
        try:
            yield
        finally:
            with _LOCK:
                self._wakes = tuple(each for each in self._wakes if each is not wake)

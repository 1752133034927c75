"""Slots: how many tokens a worker holds at once."""

from __future__ import annotations

from collections import deque

import anyio


class Slots:
    """``free`` never goes below zero by ``take``. ``share``: what one of ``sharers`` lanes may keep while it listens.

    Who waits for a free one is served in turn: a lane that listens again goes behind those that have not listened yet.
    """

    def __init__(self, total: int, sharers: int = 1) -> None:
        self.total = total
        self.free = total
        self.share = max(1, total // sharers)
        self._waiting: deque[anyio.Event] = deque()

    def take(self, count: int) -> None:
        self.free -= count

    def give(self, count: int = 1) -> None:
        self.free += count
        self._call_next()

    async def wait(self) -> None:
        """Return when at least one slot is free, and everybody who waited before has had a turn."""
        if self.free > 0 and not self._waiting:
            return
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            while True:
                self._call_next()
                await turn.wait()
                if self.free > 0:
                    return
                following = anyio.Event()
                self._waiting[self._waiting.index(turn)] = following
                turn = following
        finally:
            self._waiting.remove(turn)
            self._call_next()

    def _call_next(self) -> None:
        if self.free > 0 and self._waiting:
            self._waiting[0].set()

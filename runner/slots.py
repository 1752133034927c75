"""Slots: how many tokens a worker holds at once."""

from __future__ import annotations

import anyio


class Slots:
    """``free`` never goes below zero by ``take``; ``changed`` wakes who waits for a free one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._changed = anyio.Event()

    def take(self, count: int) -> None:
        self.free -= count

    def give(self, count: int = 1) -> None:
        self.free += count
        if self.free > 0 and not self._changed.is_set():
            self._changed.set()

    async def wait(self) -> None:
        """Return when at least one slot is free. Several lanes may wait at once: all of them are woken."""
        while self.free <= 0:
            if self._changed.is_set():
                self._changed = anyio.Event()
            await self._changed.wait()

"""Listener: one who is told what happens, by a teller who waits for nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import Generic, TypeVar

import anyio

T = TypeVar("T", bound=Sized)
HELD_MAX = 2_000
"""How much a listener may be behind."""


class Listener(Generic[T]):
    """Is told batches. ``is_gone``: it was too slow, or the server stops. ``is_over``: nothing more is to come."""

    def __init__(self) -> None:
        self.is_gone = False
        self.is_over = False
        self._held: deque[T] = deque()
        self._count = 0
        self._rung = anyio.Event()

    def tell(self, batch: T) -> None:
        """Tell some at once. What came together is not too much, however much it is."""
        if self._held and self._count + len(batch) > HELD_MAX:
            self.leave()
        elif not self.is_gone:
            self._held.append(batch)
            self._count += len(batch)
            self._rung.set()

    def leave(self) -> None:
        self.is_gone = True
        self._held.clear()
        self._rung.set()

    def end(self) -> None:
        self.is_over = True
        self._rung.set()

    async def next(self) -> list[T]:
        """Return what has come since; nothing where it ``is_gone`` or ``is_over``."""
        while not self._held and not self.is_gone and not self.is_over:
            await self._rung.wait()
            self._rung = anyio.Event()
        found = list(self._held)
        self._held.clear()
        self._count = 0
        return found

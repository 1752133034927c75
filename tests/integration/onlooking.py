"""Onlooking: whether the event loop had its turns while something was done, and which threads did what."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest


class Turns:
    """Counts the turns of the event loop. ``seen``: in how many of them something was noted."""

    def __init__(self) -> None:
        self._now = 0
        self._noted: set[int] = set()

    async def run(self) -> None:
        while True:
            await anyio.lowlevel.checkpoint()
            self._now += 1

    def noting(self, wanted: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self._noted.add(self._now)
            return wanted(*given, **options)

        return call

    @property
    def seen(self) -> int:
        return len(self._noted)

    def forget(self) -> None:
        self._noted.clear()


@asynccontextmanager
async def counted_turns() -> AsyncGenerator[Turns]:
    made = Turns()
    async with anyio.create_task_group() as group:
        group.start_soon(made.run)
        yield made
        group.cancel_scope.cancel()


class Threads:
    """``seen``: by the name of what was watched, the threads that called it. ``calls``: how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.seen: dict[str, set[int]] = {}
        self.calls: dict[str, int] = {}

    def watch(self, *places: tuple[object, str]) -> None:
        """places: a module or class, and a name in it."""
        for place, name in places:
            self._monkeypatch.setattr(place, name, self._noting(name, getattr(place, name)))

    def _noting(self, name: str, wanted: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self.seen.setdefault(name, set()).add(threading.get_ident())
            self.calls[name] = self.calls.get(name, 0) + 1
            return wanted(*given, **options)

        return call

    def here(self) -> set[str]:
        """Return what this thread has done of it."""
        return {name for name, found in self.seen.items() if threading.get_ident() in found}

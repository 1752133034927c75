"""Slices: long work in an event loop, cut so that whatever else the loop has to do goes on in between.

What cannot be cut goes to a thread, where it is long.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

import anyio
import anyio.lowlevel
from anyio.to_thread import run_sync

SLICE_S = 0.002
MANY = 5_000
"""Events, or what is made of them: those take tens of milliseconds."""
T = TypeVar("T")


async def uncut(count: int, call: Callable[[], T]) -> T:
    """Return what a call makes of so many things."""
    return await run_sync(call) if count > MANY else call()


class Slices:
    """Of one piece of work: ``breathe`` between its parts, each of which takes much less than a slice."""

    def __init__(self) -> None:
        self._until = perf_counter() + SLICE_S

    async def breathe(self) -> None:
        """Let others go on, where the slice is over."""
        if perf_counter() >= self._until:
            await anyio.lowlevel.checkpoint()
            self._until = perf_counter() + SLICE_S

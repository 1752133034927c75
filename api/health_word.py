"""The health in one word, for strangers: both servers are asked once for all of them, and at most once a second.

Anybody may ask, and to judge the health takes a question or more for each partition and queue.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from ..sdk.health.health import Health, Status

KEPT_S = 1.0


class HealthWord:
    """Of one environment. clock: s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = anyio.Lock()
        self._word: Status | None = None
        self._stale_at = 0.0

    async def read(self, judge: Callable[[], Awaitable[Health]]) -> Status:
        """Return the word; ``judge`` is called where the last one is too old. Raises what it raises."""
        async with self._turn:
            if self._word is None or self._clock() >= self._stale_at:
                self._word = (await judge()).status
                self._stale_at = self._clock() + KEPT_S
            return self._word

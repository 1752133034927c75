"""Webhook tests: what became of requests that are tests. One question to Postgres for all who wait in this process."""

from __future__ import annotations

import anyio

from ..stores import webhooks as store
from ..stores.connection import Pool
from ..stores.webhooks import DeliveryState

LOOK_S, LOOK_S_MAX = 0.1, 1.0
"""Pauses between looks: each twice the one before. A supervisor sends once a second."""


class _Waiting:
    """``rung``: it was tried, or nobody looks any more."""

    def __init__(self) -> None:
        self.found: DeliveryState | None = None
        self.rung = anyio.Event()


class WebhookTests:
    """Of one environment. Whoever waits while nobody looks does so for all."""

    def __init__(self, pool: Pool, env: str) -> None:
        self._pool = pool
        self._env = env
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._is_looking = False

    async def tried(self, name: str, event_id: str) -> DeliveryState:
        """Return when it was sent, given up, or is to be tried again. Raises what the servers' clients do."""
        mine = self._waiting[name, event_id] = _Waiting()
        try:
            while mine.found is None:
                if self._is_looking:
                    await mine.rung.wait()
                    mine.rung = anyio.Event()
                else:
                    await self._look_until(mine)
            return mine.found
        finally:
            del self._waiting[name, event_id]

    async def _look_until(self, mine: _Waiting) -> None:
        self._is_looking = True
        pause_s = LOOK_S
        try:
            while mine.found is None:
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_S_MAX)
                await self._look()
        finally:
            self._is_looking = False
            for each in self._waiting.values():
                each.rung.set()

    async def _look(self) -> None:
        async with self._pool.acquire() as conn:
            states = await store.read_deliveries(conn, self._env, list(self._waiting))
        for place, state in states.items():
            waiting = self._waiting.get(place)
            if waiting is not None and (state.state != "due" or state.error is not None):
                waiting.found = state
                waiting.rung.set()

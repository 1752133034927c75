"""Schedules: what the clock brings is started, once, however many supervisors look at it (sdk/schedules/ticker.py)."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio
import structlog

from ..sdk.client.client import Client
from ..sdk.errors import CouranteError
from ..sdk.schedules import schedule_rows as store
from ..sdk.schedules import tick_rows as rows
from ..sdk.server_errors import SERVER_ERRORS

LOOK_S = 0.5
"""A schedule may be made at any moment, and a run that something waits for may end."""
UPKEEP_EVERY = timedelta(seconds=30)
KEPT_FOR = timedelta(days=90)
"""How long it is known what became of a tick. That it has had its run is known for ever, by the run's key."""
PRUNED_MAX = 1_000
log = structlog.get_logger()


class Schedules:
    """Looks at the schedules of the client's environment."""

    def __init__(self, client: Client) -> None:
        self._pool = client.pool
        self._env = client.keys.env
        self._ticker = client.schedules.ticker
        self._clock = client.schedules.clock
        self._upkept_at: datetime | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            pause = LOOK_S
            try:
                pause = await self.look()
            except (*SERVER_ERRORS, CouranteError) as error:
                log.warning("schedules_failed", error=str(error))
            await anyio.sleep(pause)

    async def look(self) -> float:
        """Do what is to be done; return how many seconds may pass before the next look."""
        now = await self._clock()
        if await self._ticker.turn(now):
            return 0.0
        await self._keep_up(now)
        async with self._pool.acquire() as conn:
            following = await store.first_next_tick(conn, self._env)
        if following is None or following <= now:  # in other hands, or of no use
            return LOOK_S
        return min(LOOK_S, max(0.001, (following - now).total_seconds()))

    async def _keep_up(self, now: datetime) -> None:
        """See which runs have ended, and forget old ticks."""
        if self._upkept_at is not None and now - self._upkept_at < UPKEEP_EVERY:
            return
        async with self._pool.acquire() as conn:
            await rows.close_ticks(conn, self._env, None, now)
            await rows.prune_ticks(conn, self._env, now - KEPT_FOR, PRUNED_MAX)
        self._upkept_at = now

"""The watch: says aloud which runs have come to a standstill.

A step whose handler or queue no live worker has stays READY for ever, by design: a worker may come. Someone should
know. Runs that wait for a time, a person or a signal are not stuck.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import structlog
from redis.asyncio import Redis

from ..sdk.clock import read_clock
from ..sdk.stores.connection import Pool
from ..sdk.stores.runs import stuck_runs
from ..sdk.unavailable import SERVER_ERRORS

STUCK_AFTER = timedelta(minutes=5)
LOOK_S = 30.0
RUNS_MAX = 100
log = structlog.get_logger()


class Watch:
    """Logs ``run_stuck`` once per run and standstill. Events bear the time of Redis, so ages are taken by it too."""

    def __init__(self, redis: Redis, pool: Pool, env: str, *, stuck_after: timedelta = STUCK_AFTER) -> None:
        self._redis = redis
        self._pool = pool
        self._env = env
        self._stuck_after = stuck_after
        self._said: dict[str, datetime] = {}

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await anyio.sleep(LOOK_S)
            try:
                await self.look()
            except SERVER_ERRORS as error:
                log.warning("watch_failed", error=str(error))

    async def look(self) -> list[str]:
        """Return the runs that are stuck; those not told of before are logged."""
        since = datetime.fromtimestamp(await read_clock(self._redis), UTC) - self._stuck_after
        async with self._pool.acquire() as conn:
            found = await stuck_runs(conn, self._env, since=since, limit=RUNS_MAX)
        for run in found:
            if self._said.get(run.run_id) != run.last_event_at:
                log.warning(
                    "run_stuck",
                    run_id=run.run_id,
                    workflow=run.workflow,
                    last_event_at=run.last_event_at.isoformat(),
                    hint="is a worker with its handler and queue running?",
                )
        self._said = {run.run_id: run.last_event_at for run in found}
        return [run.run_id for run in found]

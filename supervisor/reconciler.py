"""The reconciler: starts that Postgres has committed and Redis has not heard of are applied again.

Safe while the log lags behind: a run that is in Redis is not started twice, and its keys stay until its last event is
in the log.
"""

from __future__ import annotations

import anyio
import asyncpg
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.catalog import Catalog
from ..sdk.errors import CouranteError
from ..sdk.keys import Keys
from ..sdk.scripts import BackPressure, Closed
from ..sdk.starting import apply_starts
from ..sdk.stores.commands import StartCommand, StartToApply, starts_to_apply
from ..sdk.stores.connection import Pool

LOOK_S = 2.0
OLDER_THAN_MS = 3_000
BATCH = 500
log = structlog.get_logger()


class Reconciler:
    """Applies the forgotten starts of one partition."""

    def __init__(
        self, redis: Redis, pool: Pool, keys: Keys, partition: int, catalog: Catalog, outbox_hard_max: int
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._number = partition
        self._catalog = catalog
        self._outbox_hard_max = outbox_hard_max
        self.applied = 0

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await anyio.sleep(LOOK_S)
            try:
                await self.apply()
            except (Closed, BackPressure) as error:
                log.warning("reconciler_refused", error=type(error).__name__, partition=self._number)
            except (RedisError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, CouranteError) as error:
                log.warning("reconciler_failed", error=str(error), partition=self._number)

    async def apply(self) -> int:
        """Apply what is missing; return how many runs were started."""
        async with self._pool.acquire() as conn:
            missing = await starts_to_apply(
                conn, self._keys.env, self._number, older_than_ms=OLDER_THAN_MS, limit=BATCH
            )
        starts = [(_command(self._keys.env, one), await self._catalog.plan(one.ir_hash)) for one in missing]
        verdicts = await apply_starts(
            self._redis,
            self._keys,
            self._keys.partition(self._number),
            starts,
            outbox_hard_max=self._outbox_hard_max,
        )
        applied = sum(verdicts)
        if applied:
            log.info("starts_applied_again", runs=applied, partition=self._number)
        self.applied += applied
        return applied


def _command(env: str, found: StartToApply) -> StartCommand:
    names = set(StartCommand.__struct_fields__)
    values = {name: value for name, value in msgspec.structs.asdict(found).items() if name in names}
    return StartCommand(env=env, **values)

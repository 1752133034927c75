"""Upkeep: the log always has its partitions for the months to come."""

from __future__ import annotations

import anyio
import structlog

from ..sdk.server_errors import POSTGRES_ERRORS
from ..sdk.stores.connection import Pool
from ..sdk.stores.migrate import ensure_partitions

LOOK_S = 3_600.0
log = structlog.get_logger()


class Upkeep:
    """Looks once an hour. Idempotent; several supervisors may do it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                async with self._pool.acquire() as conn:
                    await ensure_partitions(conn)
            except POSTGRES_ERRORS as error:
                log.warning("upkeep_failed", error=str(error))
            await anyio.sleep(LOOK_S)

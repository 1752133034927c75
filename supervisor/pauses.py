"""Pauses: runs and workers that have not heard of the pause of a workflow or a queue are told (``pausing``)."""

from __future__ import annotations

import anyio
import structlog

from ..sdk.client.client import Client
from ..sdk.errors import CouranteError
from ..sdk.server_errors import SERVER_ERRORS

LOOK_S = 2.0
log = structlog.get_logger()


class Pauses:
    """Looks at the pauses of the client's environment. Several supervisors may: a run is told once or twice."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                async with self._client.pool.acquire() as conn:
                    told = await self._client.pausing.catch_up(conn)
                if told:
                    log.info("pauses_told", runs=told)
            except (*SERVER_ERRORS, CouranteError) as error:
                log.warning("pauses_failed", error=str(error))
            await anyio.sleep(LOOK_S)

"""Cold payloads: what Redis has not any more, read from Postgres by those who need it rarely. Results of maps, too.

The small interface of any store behind Redis is ``ColdStore`` in ``sdk/floor/payloads``.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from ..connections import connect_postgres
from ..server_errors import POSTGRES_ERRORS
from ..stores.connection import Pool
from ..stores.log import read_results
from ..stores.payloads import get_payloads

CONNECTIONS_MAX = 2


class PostgresPayloads:
    """Of one environment. Its pool is given, or made from the URL when it is first needed."""

    def __init__(self, env: str, *, pool: Pool | None = None, database_url: str = "") -> None:
        self._env = env
        self._pool = pool
        self._url = database_url
        self._own: Pool | None = None
        self._turn = anyio.Lock()

    async def get(self, digest: bytes) -> bytes | None:
        """Return a content as it is stored. Raises ConnectionError where Postgres cannot be asked."""
        return (await self.get_some([digest])).get(digest)

    async def get_some(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return by digest what is stored of these. Raises ConnectionError where Postgres cannot be asked."""
        try:
            async with (await self.reach()).acquire() as conn:
                return await get_payloads(conn, self._env, digests)
        except POSTGRES_ERRORS as error:
            raise ConnectionError(f"Postgres: {error or type(error).__name__}") from error

    async def results(self, run_id: str, nodes: Sequence[str], scope: str, bytes_max: int) -> dict[int, bytes]:
        """As ``read_results``. Raises ConnectionError where Postgres cannot be asked, PayloadTooLarge."""
        try:
            async with (await self.reach()).acquire() as conn:
                return await read_results(conn, run_id, nodes, scope, bytes_max)
        except POSTGRES_ERRORS as error:
            raise ConnectionError(f"Postgres: {error or type(error).__name__}") from error

    async def reach(self) -> Pool:
        """Return the pool. Raises what connecting raises."""
        if self._pool is not None:
            return self._pool
        async with self._turn:
            if self._own is None:
                self._own = await connect_postgres(self._url, connections_max=CONNECTIONS_MAX)
            return self._own

    async def aclose(self) -> None:
        """Close what was made here."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

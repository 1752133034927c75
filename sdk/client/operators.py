"""Operators: what a client offers for the operator log, as ``client.operators``."""

from __future__ import annotations

from datetime import datetime

from ..keys import Keys
from ..stores.connection import Pool
from ..stores.operator_log import Operation, OperationPage, append_operations, list_operations
from ..unavailable import AsUnavailable


class Operators:
    """Who did what in the client's environment. Everything raises ServiceUnavailable where Postgres is away."""

    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._env = keys.env

    async def note(self, *operations: Operation) -> None:
        """Append to the log; nothing changes or deletes what stands there."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                await append_operations(conn, self._env, operations)

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, by: str | None = None, since: datetime | None = None
    ) -> OperationPage:
        """Return one page, the last operation first. Raises BadFilter."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                return await list_operations(conn, self._env, limit=limit, cursor=cursor, by=by, since=since)

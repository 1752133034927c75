"""Bundles: runs on their way out for an audit, a line each; nothing is kept of what was sent.

Each holds a connection of the pool and a snapshot of the database for as long as it takes: there are few at once, and
who goes away in the middle ends his.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from starlette.responses import Response

from ..replay.audit.export import Exporter
from ..sdk.stores.connection import Connection
from .backend import Backend
from .problems import Refused

JSON_LINES = "application/jsonl"
AT_ONCE = 2
CHUNK_BYTES = 64 * 1024
Runs = Callable[[Connection], AsyncIterator[str]]


class Bundle(Response):
    """An answer that is a bundle of runs, of which the first is known to be there."""

    media_type = JSON_LINES

    def __init__(self, backend: Backend, runs: Runs, *, by: str, has_payloads: bool) -> None:
        """Raises Refused where others are under way."""
        if len(backend.exporting) >= AT_ONCE:
            detail = f"{AT_ONCE} bundles are on their way, and each holds a snapshot of the database"
            raise Refused("rate_limited", detail, hint="ask again when one has ended", headers={"Retry-After": "30"})
        super().__init__(media_type=JSON_LINES, headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._backend = backend
        self._runs = runs
        self._by = by
        self._has_payloads = has_payloads

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        """Raises what the servers do; the answer is then broken off, and has no last line."""
        del scope

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        self._backend.exporting.add(self)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await self._write(send)
                group.cancel_scope.cancel()
        finally:
            self._backend.exporting.discard(self)

    async def _write(self, send: Any) -> None:
        buffer = bytearray()

        async def drain(most: int = CHUNK_BYTES) -> None:
            if len(buffer) > most:
                await send({"type": "http.response.body", "body": bytes(buffer), "more_body": True})
                buffer.clear()

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with (
            self._backend.client.pool.acquire() as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            exporter = Exporter(conn, self._backend.env, buffer.extend, has_payloads=self._has_payloads, drain=drain)
            exporter.begin(self._by)
            async for run_id in self._runs(conn):
                await exporter.add(run_id)
            exporter.end()
        await drain(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

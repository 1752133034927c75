"""Workers: who works for the environment, and when they were seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from ...sdk.access import Scope
from ...sdk.stores.workers import list_workers
from ..bodies import NoBody
from ..route import Asked, Routes
from ..wire.workers import WorkerPage, worker_page

routes = Routes("workers")
ALIVE_S = 60.0


class WorkerFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``all``: also those that have stopped or were not seen for long."""

    all: bool = False


@routes.get("/v1/workers", scope=Scope.READ)
async def list_all(asked: Asked[WorkerFilters, NoBody]) -> WorkerPage:
    """List workers, the one that was seen last first."""
    since = None if asked.query.all else datetime.now(UTC) - timedelta(seconds=ALIVE_S)
    async with asked.backend.client.pool.acquire() as conn:
        return worker_page(await list_workers(conn, asked.backend.env, seen_since=since))

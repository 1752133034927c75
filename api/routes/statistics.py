"""Statistics: how runs, steps and retries have gone."""

from __future__ import annotations

import msgspec

from ...sdk.access import Scope
from ..bodies import NoBody
from ..reading.statistics import count
from ..route import Asked, Routes
from ..wire.statistics import StatisticsShown
from .runs import Filter, read_since

routes = Routes("statistics")


class Counted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``since``: runs accepted since then; ``2h`` ago, or ISO 8601; left out, a day ago, and of one run since that."""

    workflow: Filter | None = None
    run_id: Filter | None = None
    since: Filter | None = None


@routes.get("/v1/statistics", scope=Scope.READ, errors=("run_not_found",))
async def show(asked: Asked[Counted, NoBody]) -> StatisticsShown:
    """Count runs, steps and retries, and how long they took."""
    query, backend = asked.query, asked.backend
    async with backend.client.pool.acquire() as conn:
        return await count(
            conn, backend.env, workflow=query.workflow, run_id=query.run_id, since=read_since(query.since)
        )

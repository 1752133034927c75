"""Approvals: the steps that wait for somebody to decide."""

from __future__ import annotations

import msgspec

from ...sdk.access import Scope
from ..bodies import NoBody
from ..reading.approvals import read_approvals
from ..route import Asked, Routes
from ..wire.approvals import ApprovalPage
from .runs import Filter, Limit

routes = Routes("approvals")


class ApprovalFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow: Filter | None = None
    run_id: Filter | None = None
    limit: Limit = 100


@routes.get("/v1/approvals", scope=Scope.READ)
async def waiting(asked: Asked[ApprovalFilters, NoBody]) -> ApprovalPage:
    """List the steps that wait for somebody to decide."""
    query, backend = asked.query, asked.backend
    async with backend.client.pool.acquire() as conn:
        wanted = {"workflow": query.workflow, "run_id": query.run_id}
        return await read_approvals(conn, backend.env, limit=query.limit, **wanted)

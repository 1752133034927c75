"""Operators: who did what that is in the log of no run."""

from __future__ import annotations

from ...sdk.access.scopes import Scope
from ..bodies import NoBody
from ..route import Asked, Routes
from ..wire.operators import OperationsShown, OperatorsQuery, operations_shown
from .runs import read_since

routes = Routes("operators")


@routes.get("/v1/operators", scope=Scope.ADMIN, errors=("query_invalid",))
async def list_(asked: Asked[OperatorsQuery, NoBody]) -> OperationsShown:
    """List who did what: unsafe requests with their answers, and what was done to keys. The last one first.

    Submissions that were accepted are not among them: they stand in the log of their run.
    """
    query = asked.query
    since = read_since(query.since)
    page = await asked.backend.client.operators.list(limit=query.limit, cursor=query.cursor, by=query.by, since=since)
    return operations_shown(page)

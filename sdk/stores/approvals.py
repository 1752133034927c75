"""Approvals: the steps that wait for a person to decide, read from the projections."""

from __future__ import annotations

from datetime import datetime

import msgspec

from .connection import Connection
from .queries import load_queries

_sql = load_queries("approvals")


class PendingApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A step that asks. ``scope``: a scope key. ``expires_at``: when it fails by itself, None: never.

    ``escalated_at``: when somebody else was told that it waits; whom stands in the document.
    """

    run_id: str
    workflow: str
    version: int
    ir_hash: str
    node: str
    scope: str
    asked_at: datetime
    expires_at: datetime | None
    escalated_at: datetime | None


async def list_approvals(
    conn: Connection, env: str, *, workflow: str | None = None, run_id: str | None = None, limit: int = 100
) -> list[PendingApproval]:
    """Return the steps that wait for a decision, those that have waited longest first."""
    rows = await conn.fetch(_sql["list_approvals"], env, workflow, run_id, limit)
    return [PendingApproval(**dict(row)) for row in rows]

"""Migrations: live runs that go on with another version of their workflow."""

from __future__ import annotations

from msgspec import UNSET

from ...sdk.access import Scope
from ..bodies import NoQuery
from ..route import Asked, Routes
from ..wire.migrations import Migrate, MigrationShown, migration_shown
from .commands import OF_RUN

routes = Routes("migrations")


@routes.post("/v1/runs/{run_id}/migrate", scope=Scope.OPERATE, errors=(*OF_RUN, "workflow_not_found", "not_migratable"))
async def migrate(asked: Asked[NoQuery, Migrate]) -> MigrationShown:
    """Let a live run go on with another version of its workflow, when it is proved that it can.

    Else it is refused with all that stands in the way, and nothing changes; a dry run tells that as an answer.
    """
    body, by = asked.body, asked.by(asked.body.by)
    done = await asked.backend.client.migrate_run(
        asked.at("run_id"), body.to, reason=body.reason, by=by, dry_run=body.dry_run
    )
    return migration_shown(done, UNSET if body.dry_run else by)

"""Forgetting: what an ended run has said and made is emptied for good."""

from __future__ import annotations

from ...sdk.access import Scope
from ..bodies import NoQuery
from ..forgetting import forget_runs
from ..route import Asked, Routes
from ..wire.forgetting import Forget, ForgetDone, ForgetMany
from .commands import OF_RUN

routes = Routes("forgetting")
ERRORS = (*OF_RUN, "run_not_ended", "payload_unreadable")


@routes.post("/v1/runs/{run_id}/forget", scope=Scope.ADMIN, errors=ERRORS)
async def forget(asked: Asked[NoQuery, Forget]) -> ForgetDone:
    """Empty an ended run for good: inputs, outputs, artifacts, logs and texts of errors; child runs included.

    The events and their chain stay, and that it was done, by whom and why.
    """
    body = asked.body
    wanted = ForgetMany(runs=[asked.at("run_id")], dry_run=body.dry_run, reason=body.reason)
    return await forget_runs(asked.backend.client, wanted, asked.by(body.by))


@routes.post("/v1/runs/forget", scope=Scope.ADMIN, errors=ERRORS)
async def forget_many(asked: Asked[NoQuery, ForgetMany]) -> ForgetDone:
    """Empty ended runs for good, those that are named or those that ended before a time.

    All are looked at before the first is emptied: one that has not ended, or is unknown, refuses all.
    """
    return await forget_runs(asked.backend.client, asked.body, asked.by(asked.body.by))

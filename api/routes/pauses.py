"""Pauses: all runs of a workflow, or a queue, stand still and go on."""

from __future__ import annotations

from ...sdk.access import Scope
from ...sdk.client.pausing import PauseResult
from ..bodies import NoBody, NoQuery
from ..route import Answer, Asked, Routes
from ..wire.commands import Because
from ..wire.pauses import PauseDone, PausePage, pause_done, pause_page
from .commands import APPLIED

routes = Routes("pauses")
OF_WORKFLOW = ("workflow_not_found", "input_invalid")


@routes.get("/v1/pauses", scope=Scope.READ)
async def list_(asked: Asked[NoQuery, NoBody]) -> PausePage:
    """List the workflows and queues that are paused."""
    return pause_page(await asked.backend.client.pausing.list())


@routes.post("/v1/workflows/{workflow}/pause", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_WORKFLOW)
async def pause_workflow(asked: Asked[NoQuery, Because]) -> Answer[PauseDone]:
    """Pause all runs of a workflow, and those that are started until it is resumed."""
    by = asked.by(asked.body.by)
    return _answer(await asked.backend.client.pause_workflow(asked.at("workflow"), asked.body.reason, by=by))


@routes.post("/v1/workflows/{workflow}/resume", scope=Scope.OPERATE, statuses=APPLIED, errors=("input_invalid",))
async def resume_workflow(asked: Asked[NoQuery, Because]) -> Answer[PauseDone]:
    """Let the runs go on that stand still since their workflow was paused."""
    by = asked.by(asked.body.by)
    return _answer(await asked.backend.client.resume_workflow(asked.at("workflow"), by=by))


@routes.post("/v1/queues/{queue}/pause", scope=Scope.OPERATE, statuses=APPLIED, errors=("input_invalid",))
async def pause_queue(asked: Asked[NoQuery, Because]) -> Answer[PauseDone]:
    """Have workers read a queue no more; each hears of it within seven seconds, and ends what it holds."""
    by = asked.by(asked.body.by)
    return _answer(await asked.backend.client.pause_queue(asked.at("queue"), asked.body.reason, by=by))


@routes.post("/v1/queues/{queue}/resume", scope=Scope.OPERATE, statuses=APPLIED, errors=("input_invalid",))
async def resume_queue(asked: Asked[NoQuery, Because]) -> Answer[PauseDone]:
    """Have workers read a paused queue again."""
    by = asked.by(asked.body.by)
    return _answer(await asked.backend.client.resume_queue(asked.at("queue"), by=by))


def _answer(done: PauseResult) -> Answer[PauseDone]:
    return Answer(pause_done(done), 202 if done.state == "accepted" else 200)

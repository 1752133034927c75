"""Commands: what is asked of a run that goes on."""

from __future__ import annotations

from ...sdk.access import Scope
from ...sdk.client.control import Commanded
from ..bodies import NoQuery
from ..route import Answer, Asked, Routes
from ..wire.commands import (
    Because,
    Budget,
    CancelStep,
    CommandDone,
    Complete,
    Decide,
    Fail,
    Force,
    Signal,
    done_of,
)

routes = Routes("commands")
APPLIED = (200, 202)
OF_RUN = ("run_not_found", "input_invalid")
OF_STEP = (*OF_RUN, "step_not_found")
OF_WAIT = (*OF_STEP, "approver_not_separate")
DECIDED = (*OF_WAIT, "step_unclear", "nothing_waits", "already_decided")


@routes.post("/v1/runs/{run_id}/cancel", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_RUN)
async def cancel(asked: Asked[NoQuery, Because]) -> Answer[CommandDone]:
    """Cancel a run.

    What waits is taken away, what runs is told, what is done is undone where the workflow says how.
    """
    by = asked.by(asked.body.by)
    return answer(await asked.backend.client.cancel(asked.at("run_id"), asked.body.reason, by=by), by)


@routes.post("/v1/runs/{run_id}/pause", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_RUN)
async def pause(asked: Asked[NoQuery, Because]) -> Answer[CommandDone]:
    """Hand out no more steps of a run; what is under way ends."""
    by = asked.by(asked.body.by)
    return answer(await asked.backend.client.pause(asked.at("run_id"), asked.body.reason, by=by), by)


@routes.post("/v1/runs/{run_id}/resume", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_RUN)
async def resume(asked: Asked[NoQuery, Because]) -> Answer[CommandDone]:
    """Let a paused run go on."""
    by = asked.by(asked.body.by)
    return answer(await asked.backend.client.resume(asked.at("run_id"), asked.body.reason, by=by), by)


@routes.post("/v1/runs/{run_id}/signal", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_RUN)
async def signal(asked: Asked[NoQuery, Signal]) -> Answer[CommandDone]:
    """Send a signal to the step that has waited longest for it, or keep it for the one that will."""
    body, by = asked.body, asked.by(asked.body.by)
    done = await asked.backend.client.signal(asked.at("run_id"), body.name, body.data, by=by)
    return answer(done, by, name=body.name)


@routes.post("/v1/runs/{run_id}/budget", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_RUN)
async def budget(asked: Asked[NoQuery, Budget]) -> Answer[CommandDone]:
    """Raise what the calls of models of a run may take."""
    body, by = asked.body, asked.by(asked.body.by)
    client, cost = asked.backend.client, f"{asked.body.cost:.9f}"
    done = await client.raise_budget(asked.at("run_id"), tokens=body.tokens, cost=cost, reason=body.reason, by=by)
    return answer(done, by)


@routes.post("/v1/runs/{run_id}/steps/{step}/cancel", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_STEP)
async def cancel_step(asked: Asked[NoQuery, CancelStep]) -> Answer[CommandDone]:
    """Withdraw a step that has not ended: the ways that lead on from it are dead."""
    body, by, step = asked.body, asked.by(asked.body.by), asked.at("step")
    done = await asked.backend.client.cancel_step(asked.at("run_id"), step, scope=body.scope, reason=body.reason, by=by)
    return answer(done, by, step=step, scope=body.scope)


@routes.post("/v1/runs/{run_id}/steps/{step}/force", scope=Scope.OPERATE, statuses=APPLIED, errors=OF_WAIT)
async def force(asked: Asked[NoQuery, Force]) -> Answer[CommandDone]:
    """Say how a step ends that waits, retries or runs."""
    body, by, step, client = asked.body, asked.by(asked.body.by), asked.at("step"), asked.backend.client
    options = {"scope": body.scope, "reason": body.reason, "by": by}
    if body.end == "succeed":
        done = await client.force_succeed(asked.at("run_id"), step, body.output, **options)
    else:
        done = await client.force_skip(asked.at("run_id"), step, **options)
    return answer(done, by, step=step, scope=body.scope)


@routes.post("/v1/runs/{run_id}/approve", scope=Scope.APPROVE, statuses=APPLIED, errors=DECIDED)
async def approve(asked: Asked[NoQuery, Decide]) -> Answer[CommandDone]:
    """Let a step go on that waits for a decision. The first decision stands."""
    return await decide(asked, asked.at("run_id"), asked.body, is_approval=True)


@routes.post("/v1/runs/{run_id}/reject", scope=Scope.APPROVE, statuses=APPLIED, errors=DECIDED)
async def reject(asked: Asked[NoQuery, Decide]) -> Answer[CommandDone]:
    """Let a step fail that waits for a decision. The first decision stands."""
    return await decide(asked, asked.at("run_id"), asked.body, is_approval=False)


@routes.post("/v1/steps/complete", scope=Scope.OPERATE, statuses=APPLIED, errors=DECIDED)
async def complete(asked: Asked[NoQuery, Complete]) -> Answer[CommandDone]:
    """Let a step succeed that has handed out a token."""
    body, by = asked.body, asked.by(asked.body.by)
    return answer(await asked.backend.client.complete(body.token, body.output, by=by), by)


@routes.post("/v1/steps/fail", scope=Scope.OPERATE, statuses=APPLIED, errors=DECIDED)
async def fail(asked: Asked[NoQuery, Fail]) -> Answer[CommandDone]:
    """Let an attempt fail that has handed out a token."""
    body, by = asked.body, asked.by(asked.body.by)
    return answer(await asked.backend.client.fail(body.token, body.reason, by=by), by)


async def decide(asked: Asked[NoQuery, Decide], run_id: str, body: Decide, *, is_approval: bool) -> Answer[CommandDone]:
    """Approve or reject. Raises what the client does."""
    client, by = asked.backend.client, asked.by(body.by)
    give = client.approve if is_approval else client.reject
    done = await give(
        run_id, body.step, scope=body.scope, comment=body.comment, reason=body.reason, data=body.data, by=by
    )
    return answer(done, by, decision="approve" if is_approval else "reject")


def answer(done: Commanded, by: str, **more: str) -> Answer[CommandDone]:
    """202 for what is kept and applied later."""
    return Answer(done_of(done, by, **more), 202 if done.state == "accepted" else 200)

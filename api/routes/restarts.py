"""Restarts: runs that go on from where others were, one by one or many at once."""

from __future__ import annotations

from typing import Any, TypeVar

from ...sdk.access import Scope
from ...sdk.client.bulk import Act, Selection, once, rebuilt, retried
from ...sdk.client.restarts import Restarted
from ...sdk.stores.runs import RunRow
from ..bodies import NoQuery
from ..route import Answer, Asked, Routes
from ..wire.bulk import BulkPage, Chosen, ForkMany, RebuildMany, RerunMany, RetryMany, bulk_page
from ..wire.commands import Fork, Rebuild, Rerun, Restart, RestartDone, Retry, restart_of
from .commands import OF_RUN, OF_STEP
from .runs import read_since

routes = Routes("restarts")
OF_BASE = ("workflow_not_found", "not_restartable", "log_archived", "payload_unreadable", "approver_not_separate")
AGAIN = (*OF_STEP, *OF_BASE)
RESTARTED = (*OF_RUN, *OF_BASE)
Many = TypeVar("Many", RetryMany, RerunMany, RebuildMany, ForkMany)


@routes.post("/v1/runs/{run_id}/retry", scope=Scope.OPERATE, statuses=(201, 200), errors=RESTARTED)
async def retry(asked: Asked[NoQuery, Retry]) -> Answer[RestartDone]:
    """Start a run again from where it was before it came to a bad end: a new run.

    Asked twice it is the same run, with 200.
    """
    body, by = asked.body, asked.by(asked.body.by)
    done = await asked.backend.client.retry(
        asked.at("run_id"), version=body.version, by=by, again=body.again, dry_run=body.dry_run
    )
    return restarted(done, body, by)


@routes.post("/v1/runs/{run_id}/fork", scope=Scope.OPERATE, statuses=(201, 200), errors=RESTARTED)
async def fork(asked: Asked[NoQuery, Fork]) -> Answer[RestartDone]:
    """Start a run that goes on from where another one was after one of its events."""
    body, by = asked.body, asked.by(asked.body.by)
    done = await asked.backend.client.fork(
        asked.at("run_id"),
        body.at,
        input=body.input,
        override=body.override,
        by=by,
        again=body.again,
        dry_run=body.dry_run,
    )
    return restarted(done, body, by, is_fork=True)


@routes.post("/v1/runs/{run_id}/rerun", scope=Scope.OPERATE, statuses=(201, 200), errors=AGAIN)
async def rerun(asked: Asked[NoQuery, Rerun]) -> Answer[RestartDone]:
    """Execute steps of an ended run again, with all that follows from them, in a new run that takes over the rest."""
    body, by = asked.body, asked.by(asked.body.by)
    done = await asked.backend.client.rerun(
        asked.at("run_id"),
        body.steps,
        input=body.input,
        by=by,
        again=body.again,
        dry_run=body.dry_run,
    )
    return restarted(done, body, by)


@routes.post("/v1/runs/{run_id}/rebuild", scope=Scope.OPERATE, statuses=(201, 200), errors=AGAIN)
async def rebuild(asked: Asked[NoQuery, Rebuild]) -> Answer[RestartDone]:
    """Execute again what changes make out of date of a completed run, in a new run that takes over the rest."""
    body, by = asked.body, asked.by(asked.body.by)
    done = await asked.backend.client.rebuild(
        asked.at("run_id"),
        body.changes,
        steps=body.steps,
        input=body.input,
        is_any_version=body.version == "base",
        by=by,
        again=body.again,
        dry_run=body.dry_run,
    )
    return restarted(done, body, by)


@routes.post("/v1/runs/retry", scope=Scope.OPERATE, errors=("input_invalid",))
async def retry_many(asked: Asked[NoQuery, RetryMany]) -> BulkPage:
    """Retry a page of the runs that failed, or were cancelled or timed out; what is refused of one stops no other.

    Asked for the same page again, the same runs are told.
    """
    body, by, client = asked.body, asked.by(asked.body.by), asked.backend.client

    async def act(run: RunRow) -> Restarted:
        return await client.retry(run.run_id, version=body.version, by=by, again=body.again, dry_run=body.dry_run)

    return await _page(asked, retried(_selection(body.runs)), act)


@routes.post("/v1/runs/rerun", scope=Scope.OPERATE, errors=("input_invalid",))
async def rerun_many(asked: Asked[NoQuery, RerunMany]) -> BulkPage:
    """Execute steps of a page of runs again, with all that follows from them, each in a new run."""
    body, by, client = asked.body, asked.by(asked.body.by), asked.backend.client

    async def do(run_id: str, is_dry: bool) -> Restarted:
        return await client.rerun(run_id, body.steps, input=body.input, by=by, again=body.again, dry_run=is_dry)

    act = once("rerun", do, again=body.again, dry_run=body.dry_run)
    return await _page(asked, _selection(body.runs), act)


@routes.post("/v1/runs/rebuild", scope=Scope.OPERATE, errors=("input_invalid",))
async def rebuild_many(asked: Asked[NoQuery, RebuildMany]) -> BulkPage:
    """Execute again what changes make out of date of a page of runs that are complete, each in a new run."""
    body, by, client = asked.body, asked.by(asked.body.by), asked.backend.client
    said: dict[str, Any] = {"steps": body.steps, "input": body.input, "is_any_version": body.version == "base"}

    async def do(run_id: str, is_dry: bool) -> Restarted:
        return await client.rebuild(run_id, body.changes, **said, by=by, again=body.again, dry_run=is_dry)

    act = once("rebuild", do, again=body.again, dry_run=body.dry_run)
    return await _page(asked, rebuilt(_selection(body.runs)), act)


@routes.post("/v1/runs/fork", scope=Scope.OPERATE, errors=("input_invalid",))
async def fork_many(asked: Asked[NoQuery, ForkMany]) -> BulkPage:
    """Start runs that go on from where those of a page were, each after its event ``at``."""
    body, by, client = asked.body, asked.by(asked.body.by), asked.backend.client
    said: dict[str, Any] = {"input": body.input, "override": body.override}

    async def do(run_id: str, is_dry: bool) -> Restarted:
        return await client.fork(run_id, body.at, **said, by=by, again=body.again, dry_run=is_dry)

    act = once("fork", do, again=body.again, dry_run=body.dry_run)
    return await _page(asked, _selection(body.runs), act, is_fork=True)


async def _page(asked: Asked[NoQuery, Many], wanted: Selection, act: Act, *, is_fork: bool = False) -> BulkPage:
    body = asked.body
    outcomes, following = await asked.backend.client.bulk.page(wanted, act, cursor=body.runs.cursor)
    return bulk_page(outcomes, following, is_dry=body.dry_run, is_fork=is_fork)


def _selection(chosen: Chosen) -> Selection:
    since = read_since(chosen.since)
    return Selection(workflow=chosen.workflow, status=chosen.status, since=since, tag=chosen.tag, limit=chosen.limit)


def restarted(done: Restarted, asked: Restart, by: str, *, is_fork: bool = False) -> Answer[RestartDone]:
    status = 201 if done.is_new and not asked.dry_run else 200
    return Answer(restart_of(done, is_dry=asked.dry_run, by=by, is_fork=is_fork), status)

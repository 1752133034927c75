"""Audit: runs as bundles that anybody can check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta

from ...sdk.access import Scope
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import BadFilter, UnknownRun
from ...sdk.stores.log import check_archived
from ...sdk.stores.runs import archived_runs, list_runs, select_runs, unknown_runs
from ..backend import Backend
from ..bodies import NoBody, NoQuery
from ..bundles import JSON_LINES, Bundle
from ..route import Asked, Routes
from ..wire.commands import Word
from .runs import Filter, read_since

routes = Routes("audit")
ERRORS = ("run_not_found", "log_archived")
RUNS_MAX = 10_000


class BundleAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``payloads``: with inputs, outputs and what people said; as they are stored, encrypted ones stay so."""

    payloads: bool = True
    by: Filter | None = None


class RunsNamed(BundleAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``runs``: more than a query can name."""

    runs: Annotated[list[Word], Meta(min_length=1, max_length=RUNS_MAX)]


class BundleFilters(BundleAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``run_id``: of each run; or filters as of the list of runs. ``by``: who wants it, if that is somebody else."""

    run_id: Annotated[list[Filter], Meta(max_length=1_000)] = msgspec.field(default_factory=lambda: [])
    workflow: Filter | None = None
    status: Filter | None = None
    since: Filter | None = None


@routes.get("/v1/runs/{run_id}/audit", scope=Scope.READ, errors=ERRORS, media_type=JSON_LINES)
async def export_run(asked: Asked[BundleAsked, NoBody]) -> Bundle:
    """Write a run as a bundle, one JSON object a line, which 'courante audit verify' checks anywhere."""
    return await _bundle(asked.backend, [asked.at("run_id")], asked.query, asked.by(asked.query.by))


@routes.get("/v1/audit", scope=Scope.READ, errors=ERRORS, media_type=JSON_LINES)
async def export(asked: Asked[BundleFilters, NoBody]) -> Bundle:
    """Write runs as a bundle: those that are named, or all that fit the filters.

    Two are made at once; whoever comes third is told to come again. A bundle without a last line of the type trailer
    was broken off.
    """
    query = asked.query
    filters = {"workflow": query.workflow, "status": query.status}
    since = read_since(query.since)
    if bool(query.run_id) == (since is not None or any(filters.values())):
        raise BadFilter("run_id", "wanted either runs, or a workflow, a status or a time")
    if query.run_id:
        return await _bundle(asked.backend, query.run_id, query, asked.by(query.by))
    env = asked.backend.env

    def runs(conn: Connection) -> AsyncIterator[str]:
        return select_runs(conn, env, since=since, **filters)

    async with asked.backend.client.pool.acquire() as conn:  # what is wrong is told before a bundle begins
        for run in (await list_runs(conn, env, since=since, is_archived=True, limit=1, **filters)).runs:
            await check_archived(conn, run.run_id)
    return Bundle(asked.backend, runs, by=asked.by(query.by), has_payloads=query.payloads)


@routes.post("/v1/audit/export", scope=Scope.READ, errors=ERRORS, media_type=JSON_LINES)
async def export_named(asked: Asked[NoQuery, RunsNamed]) -> Bundle:
    """Write the runs that are named as a bundle, as ``GET /v1/audit`` does: for more than fit into an address."""
    return await _bundle(asked.backend, asked.body.runs, asked.body, asked.by(asked.body.by))


async def _bundle(backend: Backend, run_ids: list[str], wanted: BundleAsked, by: str) -> Bundle:
    """Raises UnknownRun, LogArchived."""
    async with backend.client.pool.acquire() as conn:
        for run_id in (await unknown_runs(conn, backend.env, run_ids))[:1]:
            raise UnknownRun(run_id)
        for run_id in (await archived_runs(conn, backend.env, run_ids))[:1]:
            await check_archived(conn, run_id)

    async def runs(_: Connection) -> AsyncIterator[str]:
        for run_id in run_ids:
            yield run_id

    return Bundle(backend, runs, by=by, has_payloads=wanted.payloads)

"""Workflows: registered, listed, shown, drawn and validated."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...sdk.access import Scope
from ...sdk.errors import DocumentInvalid
from ..aside import aside
from ..bodies import NoBody, NoQuery, RawDocument
from ..reading.documents import Compiled, compile_text
from ..reading.workflows import read_drawing, read_workflow, read_workflows
from ..route import Answer, Asked, Routes
from ..wire.documents import Validated, validated
from ..wire.workflows import (
    Drawing,
    WorkflowPage,
    WorkflowRegistered,
    WorkflowShown,
    workflow_registered,
)

routes = Routes("workflows")
VersionNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ById(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of a list that is ordered by id. ``after``: the last id of the page before."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: Annotated[str, Meta(max_length=512)] = ""


class OfVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``version``: left out, the latest."""

    version: VersionNumber | None = None


class Drawn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: VersionNumber | None = None
    format: Literal["mermaid", "dot"] = "mermaid"


@routes.post("/v1/workflows", scope=Scope.ADMIN, statuses=(201, 200), errors=("document_invalid",), says_where=True)
async def register(asked: Asked[NoQuery, RawDocument]) -> Answer[WorkflowRegistered]:
    """Register a document.

    201 for a new version, 200 for one whose content is known. Runs keep the version that they were started with.
    """
    compiled = await compile_body(asked.body)
    if compiled.workflow is None or compiled.ir is None:
        raise DocumentInvalid(compiled.diagnostics)
    found = await asked.backend.client.register(compiled.workflow, compiled.ir, compiled.content)
    return Answer(
        workflow_registered(found),
        201 if found.is_new else 200,
        {"Location": f"/v1/workflows/{found.workflow}?version={found.version}"},
    )


@routes.post("/v1/workflows/validate", scope=Scope.READ)
async def validate(asked: Asked[NoQuery, RawDocument]) -> Validated:
    """Say everything that is wrong with a document; nothing is registered."""
    return validated(await compile_body(asked.body))


@routes.get("/v1/workflows", scope=Scope.READ)
async def list_(asked: Asked[ById, NoBody]) -> WorkflowPage:
    """List registered workflows by id."""
    backend, query = asked.backend, asked.query
    async with backend.client.pool.acquire() as conn:
        return await read_workflows(conn, backend.env, limit=query.limit, after=query.after)


@routes.get("/v1/workflows/{workflow}", scope=Scope.READ, errors=("workflow_not_found",))
async def show(asked: Asked[OfVersion, NoBody]) -> WorkflowShown:
    """Show a version of a workflow, with its nodes and edges, and which versions there are."""
    backend = asked.backend
    async with backend.client.pool.acquire() as conn:
        return await read_workflow(conn, backend.env, asked.at("workflow"), asked.query.version)


@routes.get("/v1/workflows/{workflow}/graph", scope=Scope.READ, errors=("workflow_not_found",))
async def graph(asked: Asked[Drawn, NoBody]) -> Drawing:
    """Draw a version of a workflow, for Mermaid or Graphviz."""
    backend, query = asked.backend, asked.query
    async with backend.client.pool.acquire() as conn:
        return await read_drawing(conn, backend.env, asked.at("workflow"), query.version, query.format)


async def compile_body(body: RawDocument) -> Compiled:
    return await aside(partial(compile_text, body.content, "json" if body.is_json else "yaml"))

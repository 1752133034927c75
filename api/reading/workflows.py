"""Workflows, read from what is registered, as they travel."""

from __future__ import annotations

from ...compiler.workflow import Workflow
from ...sdk.stores import workflows as store
from ...sdk.stores.connection import Connection
from ..wire.workflows import Drawing, WorkflowPage, WorkflowShown, workflow_page, workflow_shown
from .documents import read_version
from .drawing import to_dot, to_mermaid


async def read_workflows(conn: Connection, env: str, *, limit: int, after: str) -> WorkflowPage:
    """Return a page of workflows by id."""
    return workflow_page(await store.list_workflows(conn, env, limit=limit, after=after), limit)


async def read_workflow(conn: Connection, env: str, workflow: str, version: int | None) -> WorkflowShown:
    """Return a version, the latest where none is asked for. Raises UnknownWorkflow."""
    chosen = await store.get(conn, env, workflow, version)
    return workflow_shown(chosen, await store.list_versions(conn, env, workflow), read_version(chosen))


async def read_drawing(conn: Connection, env: str, workflow: str, version: int | None, format: str) -> Drawing:
    """Raises UnknownWorkflow."""
    return draw(read_version(await store.get(conn, env, workflow, version)), format)


def draw(workflow: Workflow, format: str) -> Drawing:
    """format: mermaid or dot."""
    return Drawing(format=format, text=to_mermaid(workflow) if format == "mermaid" else to_dot(workflow))

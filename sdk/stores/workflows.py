"""Workflows: immutable versions, and the IRs that they compile to.

Registering is idempotent by content: the same document with the same IR is the same version, and becomes the latest
again; other content is a new version. Nothing here compiles or checks a document.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import msgspec

from ..events import digest
from .connection import Connection
from .errors import UnknownWorkflow
from .queries import load_queries

_sql = load_queries("workflows")


class WorkflowVersion(msgspec.Struct, frozen=True, kw_only=True):
    """``document``: normalized, canonical JSON. ``source``: as it was handed in, None where code built it.

    ``is_paused``: the workflow is, in all its versions.
    """

    workflow: str
    name: str
    version: int
    ir_hash: str
    document: bytes
    source: str | None
    created_at: datetime
    is_paused: bool


class WorkflowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``nodes`` and ``edges``: of the latest version."""

    id: str
    name: str
    latest: int
    versions: int
    nodes: int
    edges: int
    created_at: datetime
    updated_at: datetime


async def register(
    conn: Connection,
    env: str,
    workflow_id: str,
    *,
    name: str,
    document: bytes,
    ir_hash: str,
    ir: bytes,
    source: str | None = None,
) -> int:
    """Keep a version, make it the latest, and return its number. One transaction; concurrent calls take turns."""
    found = digest(document)
    async with conn.transaction():
        await conn.fetchval(_sql["lock_workflow"], env, workflow_id, name)
        await conn.execute(_sql["insert_ir"], env, ir_hash, ir)
        version: int | None = await conn.fetchval(_sql["find_version"], env, workflow_id, found, ir_hash)
        if version is None:
            values = (env, workflow_id, ir_hash, document, found, source)
            version = int(await conn.fetchval(_sql["insert_version"], *values))
        await conn.execute(_sql["move_latest"], env, workflow_id, version, name)
        return version


async def get(conn: Connection, env: str, workflow_id: str, version: int | None = None) -> WorkflowVersion:
    """Return a version, the latest where none is given. Raises UnknownWorkflow."""
    if version is None:
        row = await conn.fetchrow(_sql["get_latest"], env, workflow_id)
    else:
        row = await conn.fetchrow(_sql["get_version"], env, workflow_id, version)
    if row is None:
        raise UnknownWorkflow(workflow_id, version)
    return _version(row)


async def get_ir(conn: Connection, env: str, ir_hash: str) -> bytes | None:
    """Return the bytes of an IR, None where it is not known."""
    content: bytes | None = await conn.fetchval(_sql["get_ir"], env, ir_hash)
    return content


async def keep_ir(conn: Connection, env: str, ir_hash: str, content: bytes) -> None:
    """Keep an IR that no version has: what a version comes to for a run that has moved to it. Idempotent."""
    await conn.execute(_sql["insert_ir"], env, ir_hash, content)


async def ir_hashes(conn: Connection, env: str) -> list[str]:
    """Return the hashes of all IRs of an environment."""
    return [row["hash"] for row in await conn.fetch(_sql["ir_hashes"], env)]


async def read_irs(conn: Connection, env: str, page: int = 50) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Yield all IRs of an environment, (hash, bytes), a page at a time."""
    after = ""
    while rows := await conn.fetch(_sql["read_irs"], env, after, page):
        yield [(row["hash"], row["content"]) for row in rows]
        after = rows[-1]["hash"]


async def list_workflows(conn: Connection, env: str, *, limit: int = 100, after: str = "") -> list[WorkflowSummary]:
    """Return workflows by id. after: the last id of the page before."""
    rows = await conn.fetch(_sql["list_workflows"], env, after, limit)
    return [WorkflowSummary(**dict(row)) for row in rows]


async def list_versions(conn: Connection, env: str, workflow_id: str) -> list[WorkflowVersion]:
    """Return all versions of a workflow, oldest first; empty where it is not known."""
    return [_version(row) for row in await conn.fetch(_sql["list_versions"], env, workflow_id)]


def _version(row: asyncpg.Record) -> WorkflowVersion:
    return WorkflowVersion(**dict(row))

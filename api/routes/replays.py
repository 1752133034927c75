"""Replays: a run's log held against itself and the rules, and runs routed by another version of their workflow."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ...replay.verify import Verification, verify_run
from ...replay.what_if import WhatIf
from ...sdk.access import Scope
from ...sdk.errors import DocumentInvalid
from ...sdk.stores.connection import Connection
from ..aside import aside_connected
from ..bodies import NoBody, NoQuery, RawDocument
from ..reading.states import lineage_of
from ..reading.what_ifs import LATEST, OtherVersion, ask_run
from ..route import Asked, Routes
from .workflows import compile_body

routes = Routes("replays")
OF_LOG = ("run_not_found", "ir_not_found", "log_archived", "payload_unreadable")
ROUTED = (*OF_LOG, "workflow_not_found")


class ByVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``version``: a number, the hash of its IR or the beginning of that, or latest."""

    version: Annotated[str, Meta(min_length=1, max_length=100)] = LATEST


@routes.get("/v1/runs/{run_id}/verify", scope=Scope.READ, errors=OF_LOG)
async def verify(asked: Asked[NoQuery, NoBody]) -> Verification:
    """Check a run's log: its chain and sequence, and that the rules give what was logged.

    The whole log is read, two at once. A log that does not hold together is an answer, with the first difference.
    """
    env, run_id = asked.backend.env, asked.at("run_id")

    async def work(conn: Connection) -> Verification:
        await lineage_of(conn, env, run_id)
        return await verify_run(conn, env, run_id)

    return await aside_connected(asked.request, asked.backend.client.database_url, work)


@routes.get("/v1/runs/{run_id}/what-if", scope=Scope.READ, errors=ROUTED)
async def what_if_version(asked: Asked[ByVersion, NoBody]) -> WhatIf:
    """Say how a run would have been routed by another version of its workflow. Nothing is executed."""
    return await _what_if(asked, OtherVersion(asked.query.version))


@routes.post("/v1/runs/{run_id}/what-if", scope=Scope.READ, errors=(*ROUTED, "document_invalid"))
async def what_if_document(asked: Asked[NoQuery, RawDocument]) -> WhatIf:
    """Say how a run would have been routed by a document. Nothing is registered, and nothing executed."""
    compiled = await compile_body(asked.body)
    if compiled.ir is None:
        raise DocumentInvalid(compiled.diagnostics)
    return await _what_if(asked, OtherVersion(compiled.ir))


async def _what_if(asked: Asked[ByVersion, NoBody] | Asked[NoQuery, RawDocument], other: OtherVersion) -> WhatIf:
    env, run_id = asked.backend.env, asked.at("run_id")
    return await aside_connected(
        asked.request, asked.backend.client.database_url, lambda conn: ask_run(conn, env, run_id, other)
    )

"""Anchors: what the log says, under one root in one line, for somebody else to keep and to hold against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from ...replay.audit.anchors import AnchorChecked, check_anchor, draft_anchor, keep_signed, make_anchor
from ...sdk.access import Scope
from ...sdk.stores.anchors import read_anchors
from ...sdk.stores.connection import Connection
from ..aside import aside_connected
from ..bodies import NoBody, NoQuery
from ..bundles import JSON_LINES
from ..route import Asked, Raw, Routes
from ..wire.anchors import AnchorDone, Signed, ToSign, anchor_done

routes = Routes("anchors")
T = TypeVar("T")
Count = Annotated[int, Meta(ge=0, le=2**53)]


class AnchorKept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``number``, ``heads``, ``root``: as the line has them that was kept.

    ``chains``: each run is followed from its first event, so that changes before an anchored one show too.
    """

    number: Annotated[int, Meta(ge=1, le=2**53)]
    heads: Count
    root: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    chains: bool = False


@routes.get("/v1/audit/anchors", scope=Scope.READ, media_type=JSON_LINES)
async def list_(asked: Asked[NoQuery, NoBody]) -> Raw:
    """Tell all anchors of the environment, a line each, as they were made."""
    async with asked.backend.client.pool.acquire() as conn:
        lines = [line async for _, line in read_anchors(conn, asked.backend.env)]
    return Raw(b"".join(line + b"\n" for line in lines), media_type=JSON_LINES)


@routes.post("/v1/audit/anchors", scope=Scope.OPERATE)
async def make(asked: Asked[NoQuery, NoBody]) -> AnchorDone:
    """Anchor the chains of all runs that have moved since the last anchor, in one line, unsigned.

    Each chain is verified before. Let somebody keep the line who is not trusted with the database.
    """
    env = asked.backend.env
    return anchor_done(await _aside(asked, lambda conn: make_anchor(conn, env)))


@routes.post("/v1/audit/anchors/draft", scope=Scope.OPERATE)
async def draft(asked: Asked[NoQuery, ToSign]) -> AnchorDone:
    """Say which line is to be signed, by whoever has the private key. Nothing is anchored yet.

    The signature is over the bytes of the line. The draft of somebody else is void then.
    """
    env, key = asked.backend.env, asked.body.key
    return anchor_done(await _aside(asked, lambda conn: draft_anchor(conn, env, key)))


@routes.post("/v1/audit/anchors/sign", scope=Scope.OPERATE, errors=("input_invalid", "anchor_outdated", "key_unusable"))
async def sign(asked: Asked[NoQuery, Signed]) -> AnchorDone:
    """Anchor what was drafted, with its signature. Asked twice it is done once."""
    env, line = asked.backend.env, asked.body.line
    await _aside(asked, lambda conn: keep_signed(conn, env, line.encode()))
    return AnchorDone(line=line, bad=[])


@routes.get("/v1/audit/anchors/check", scope=Scope.READ)
async def check(asked: Asked[AnchorKept, NoBody]) -> AnchorChecked:
    """Hold an anchor that somebody has kept against the log.

    Whether it is signed, and follows the one before it, is for whoever has the lines to look at.
    """
    env, kept = asked.backend.env, asked.query

    async def work(conn: Connection) -> AnchorChecked:
        return await check_anchor(conn, env, kept.number, kept.heads, kept.root, with_chains=kept.chains)

    return await _aside(asked, work)


async def _aside(asked: Asked[Any, Any], work: Callable[[Connection], Awaitable[T]]) -> T:
    return await aside_connected(asked.request, asked.backend.client.database_url, work)

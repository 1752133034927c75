"""Rejected submissions: entries of the submit streams that became no run, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from ..errors import PayloadUnreadable
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..sealing.sealing import seal_text, shown_text
from .connection import Connection
from .queries import load_queries

_sql = load_queries("rejected")


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """``fields``: what was handed in, JSON bytes of texts by field, long ones cut; nothing where there is no key."""

    entry_id: str
    code: str
    reason: str
    fields: bytes
    partition: int = 0
    rejected_at: datetime | None = None


async def keep_rejected(conn: Connection, env: str, partition: int, rejected: Sequence[Rejected]) -> None:
    """Keep refusals of one partition; the first word on an entry stands. Idempotent."""
    columns = (
        [one.entry_id for one in rejected],
        [one.code for one in rejected],
        [seal_text(one.reason) for one in rejected],
        [PAYLOAD_TERMS.encode(one.fields) for one in rejected],
    )
    await conn.execute(_sql["insert_rejected"], env, partition, *columns)


async def list_rejected(conn: Connection, env: str, limit: int = 100) -> list[Rejected]:
    """Return the refusals of an environment, the newest first."""
    return [_rejected(dict(row)) for row in await conn.fetch(_sql["list_rejected"], env, limit)]


def _rejected(row: dict[str, Any]) -> Rejected:
    row["reason"] = shown_text(row["reason"])
    try:
        row["fields"] = PAYLOAD_TERMS.decode(row["fields"])
    except PayloadUnreadable:
        row["fields"] = b"{}"
    return Rejected(**row)

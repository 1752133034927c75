"""The operator log: who did what that is in the log of no run. Append-only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from .connection import Connection
from .errors import BadFilter
from .queries import load_queries

LIMIT_MAX = 1_000
TEXT_CHARS_MAX = 500
_sql = load_queries("operator_log")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """``action``: method and path, with ``(dry run)`` where that was asked for; or a word as ``key.created``.
    ``result``: status of the answer, or ``done``.

    ``by``: empty where nobody said who it was. ``address``: empty for the command line.
    """

    by: str
    action: str
    result: str
    key_id: str | None = None
    target: str = ""
    address: str = ""


class KeptOperation(Operation, frozen=True, kw_only=True):
    number: int
    at: datetime


class OperationPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: what to pass as cursor for the page after this; None on the last one."""

    operations: list[KeptOperation]
    next: str | None


async def append_operations(conn: Connection, env: str, operations: Sequence[Operation]) -> None:
    """One statement. Texts are cut to 500 characters."""
    columns = (
        [_fit(each.by) for each in operations],
        [each.key_id for each in operations],
        [_fit(each.action) for each in operations],
        [_fit(each.target) for each in operations],
        [_fit(each.result) for each in operations],
        [_fit(each.address) for each in operations],
    )
    await conn.execute(_sql["append_operations"], env, *columns)


async def list_operations(
    conn: Connection,
    env: str,
    *,
    limit: int = 50,
    cursor: str | None = None,
    by: str | None = None,
    since: datetime | None = None,
) -> OperationPage:
    """Return one page, the last operation first. limit: 1 to 1,000. Raises BadFilter."""
    if not 1 <= limit <= LIMIT_MAX:
        raise BadFilter("limit", f"{limit} is not between 1 and {LIMIT_MAX}")
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise BadFilter("cursor", "not one of ours")
    before = None if cursor is None else int(cursor)
    rows = await conn.fetch(_sql["list_operations"], env, before, by, since, limit + 1)
    found = [KeptOperation(**dict(row)) for row in rows]
    following = str(found[limit - 1].number) if len(found) > limit else None
    return OperationPage(operations=found[:limit], next=following)


def _fit(text: str) -> str:
    return text[:TEXT_CHARS_MAX].replace("\x00", "")

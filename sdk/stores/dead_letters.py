"""Dead letters, listed and dropped: steps that failed for good, of runs that ended FAILED."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from ..events import ErrorInfo
from ..moments import from_ms, to_ms
from ..sealing.sealing import read_error, seal_text, shown_text
from .connection import Connection
from .errors import BadFilter
from .queries import load_queries

LIMIT_MAX = 1_000
State = Literal["open", "requeued", "dropped"]

_sql = load_queries("dead_letters")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A step that failed for good. ``attempt``: the last one. ``seq``: the event by which it failed.

    ``state``: open; requeued, as the run ``requeued_as``; or dropped, by whom, why and when.
    """

    run_id: str
    workflow: str
    version: int
    ir_hash: str
    tags: tuple[str, ...]
    node: str
    scope: str
    attempt: int
    seq: int
    error: ErrorInfo | None
    failed_at: datetime
    state: State
    requeued_as: str | None
    dropped_by: str | None
    drop_reason: str | None
    dropped_at: datetime | None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters; what is None says nothing. ``error``: its type. ``kind``: fatal or retryable.

    ``is_open``: only those that nobody has dealt with.
    """

    run_id: str | None = None
    workflow: str | None = None
    node: str | None = None
    error: str | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tags: tuple[str, ...] = ()
    is_open: bool = True


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: what to pass as cursor for the page after this; None on the last one."""

    letters: list[DeadLetter]
    next: str | None


class Dropped(NamedTuple):
    run_id: str
    node: str
    scope: str


async def list_dead_letters(
    conn: Connection, env: str, wanted: Wanted, *, limit: int = 50, cursor: str | None = None
) -> DeadLetterPage:
    """Return one page of dead letters, the last failure first. limit: 1 to 1,000. Raises BadFilter."""
    if not 1 <= limit <= LIMIT_MAX:
        raise BadFilter("limit", f"{limit} is not between 1 and {LIMIT_MAX}")
    values: list[object] = [env]
    conditions = ["d.env = $1", "r.status = 'FAILED'"]

    def add(condition: str, *given: object) -> None:
        conditions.append(condition.format(*(f"${len(values) + n}" for n in range(1, len(given) + 1))))
        values.extend(given)

    equals = {"d.run_id": wanted.run_id, "r.workflow": wanted.workflow, "d.node": wanted.node}
    equals |= {"d.error ->> 'type'": wanted.error, "d.error ->> 'kind'": wanted.kind}
    for column, value in equals.items():
        if value is not None:
            add(f"{column} = {{}}", value)
    if wanted.since is not None:
        add("d.failed_at >= {}", wanted.since)
    if wanted.until is not None:
        add("d.failed_at < {}", wanted.until)
    if wanted.tags:
        add("r.tags @> {}::text[]", list(wanted.tags))
    if wanted.is_open:
        conditions.append("d.is_open")
    if cursor is not None:
        add("(d.failed_at, d.run_id, d.node, d.scope) < ({}, {}, {}, {})", *_read_cursor(cursor))
    order = f"ORDER BY d.failed_at DESC, d.run_id DESC, d.node DESC, d.scope DESC LIMIT {limit + 1}"
    found = await conn.fetch(f"{_sql['list_dead_letters']} WHERE {' AND '.join(conditions)} {order}", *values)
    letters = [_letter(dict(row)) for row in found]
    return DeadLetterPage(
        letters=letters[:limit], next=_make_cursor(letters[limit - 1]) if len(letters) > limit else None
    )


async def drop_dead_letters(
    conn: Connection, env: str, letters: Sequence[DeadLetter], *, by: str | None, reason: str
) -> list[Dropped]:
    """Write down that somebody has dealt with them; return those that were open until now. One statement."""
    places = [[each.run_id for each in letters], [each.node for each in letters], [each.scope for each in letters]]
    return [Dropped(*row) for row in await conn.fetch(_sql["drop_dead_letters"], env, *places, by, seal_text(reason))]


async def close_requeued(conn: Connection, run_id: str) -> None:
    """The run was started again: nothing of it is open."""
    await conn.execute(_sql["close_requeued"], run_id)


def _letter(row: dict[str, Any]) -> DeadLetter:
    row["tags"] = tuple(row["tags"])
    row["error"] = read_error(row["error"])
    row["drop_reason"] = None if row["drop_reason"] is None else shown_text(row["drop_reason"])
    state: State = "requeued" if row["requeued_as"] else "dropped" if row["dropped_at"] else "open"
    return DeadLetter(**row, state=state)


def _make_cursor(letter: DeadLetter) -> str:
    place = [to_ms(letter.failed_at), letter.run_id, letter.node, letter.scope]
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str, str, str]:
    try:
        content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        failed_ms, run_id, node, scope = msgspec.json.decode(content, type=tuple[int, str, str, str])
        return from_ms(failed_ms), run_id, node, scope
    except (ValueError, OverflowError, binascii.Error, msgspec.MsgspecError) as cause:
        raise BadFilter("cursor", "not one of ours") from cause

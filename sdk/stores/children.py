"""Child runs: which run stands for which attempt of a step of another one, and what is to be done about it.

The link is made by the event by which the step began to wait, so it is there exactly when the parent's log says so.
``state`` is what the supervisor has done since; where it is lost, doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import asyncpg
import msgspec

from ..events import ErrorInfo
from ..sealing.sealing import read_error
from .commands import run_id_of_key
from .connection import Connection
from .queries import load_queries
from .status import RunStatus

_sql = load_queries("children")


class ChildState(StrEnum):
    """``wanted`` -> ``starting`` -> ``started`` -> ``settled``; or ``refused``, or ``dropped``: never started."""

    WANTED = "wanted"
    STARTING = "starting"
    STARTED = "started"
    SETTLED = "settled"
    REFUSED = "refused"
    DROPPED = "dropped"


class WantedChild(NamedTuple):
    """A step that asks for a child run. ``seq``: the event whose payload is its input."""

    run_id: str
    parent_run_id: str
    node: str
    scope: str
    attempt: int
    seq: int
    workflow: str
    version: int | None
    is_detached: bool
    wanted_at: datetime


Place: TypeAlias = tuple[datetime | None, str]
"""By which children are ordered about which something is to be done."""
FIRST: Place = (None, "")


class OpenChild(msgspec.Struct, frozen=True, kw_only=True):
    """A child run about which something is to be done. ``by``, ``tags``: of its parent.

    ``status``: how it ended, None where it has not. ``is_awaited``: its step waits for it. ``going_on``: a run that
    goes on from it since it has ended. ``is_accepted``: of one that
    is ``wanted``, it was started all the same, before its row was made again.
    """

    run_id: str
    parent_run_id: str
    node: str
    scope: str
    attempt: int
    seq: int
    partition: int
    workflow: str
    version: int | None
    is_detached: bool
    state: ChildState
    by: str | None
    tags: tuple[str, ...]
    status: str | None
    output_seq: int | None
    error: ErrorInfo | None
    is_awaited: bool
    going_on: str | None
    is_accepted: bool
    wanted_at: datetime

    @property
    def place(self) -> Place:
        return self.wanted_at, self.run_id


class ChildRow(msgspec.Struct, frozen=True, kw_only=True):
    """A child run as its parent shows it. ``status``: None where it was not started. ``taken_from``: of a step that is
    taken over, the run whose child it is.
    """

    run_id: str
    node: str
    scope: str
    attempt: int
    workflow: str
    version: int | None
    is_detached: bool
    depth: int | None
    state: ChildState
    status: RunStatus | None
    taken_from: str | None = None


class ParentRow(msgspec.Struct, frozen=True, kw_only=True):
    """The step that a run stands for."""

    parent_run_id: str
    node: str
    scope: str
    attempt: int
    is_detached: bool
    depth: int | None


def child_key(parent: str, node: str, scope: str, attempt: int) -> str:
    """Return the idempotency key of the child run of one attempt. scope: a scope key."""
    return f"child:{parent}/{node}/{scope}/{attempt}"


def child_run_id(env: str, parent: str, node: str, scope: str, attempt: int) -> str:
    """Return the id that the child run of one attempt has, whether it was started or not."""
    return run_id_of_key(env, child_key(parent, node, scope, attempt))


async def insert_children(conn: Connection, env: str, wanted: Sequence[WantedChild]) -> None:
    """Link children to their parents, whose rows are there. Idempotent."""
    if wanted:
        await conn.execute(_sql["insert_children"], env, *map(list, zip(*wanted, strict=True)))


async def open_children(
    conn: Connection, env: str, partition: int, limit: int, after: Place = FIRST
) -> list[OpenChild]:
    """Return the children about which something is to be done, oldest first. Cost: those that have not settled.

    after: the last one of the page before.
    """
    rows = await conn.fetch(_sql["open_children"], env, partition, limit, *after)
    return [_open_child(row) for row in rows]


async def has_open_children(conn: Connection, env: str, partition: int) -> bool:
    """Whether anything may still have to be done about any."""
    return bool(await conn.fetchval(_sql["has_open_children"], env, partition))


async def take_up_child(conn: Connection, run_id: str, state: ChildState) -> int | None:
    """Move a child that is wanted on, and return how many runs stand above it; None where another was faster.

    A parent that is a child too was taken up before. One that goes on from a child stands where that stood.
    """
    depth: int | None = await conn.fetchval(_sql["take_up_child"], run_id, str(state))
    return depth


async def move_children(conn: Connection, moves: Sequence[tuple[str, ChildState, ChildState]]) -> None:
    """Move (child, from this state, to that one); one that is not in the first is left as it is."""
    if moves:
        columns = zip(*((run_id, str(since), str(state)) for run_id, since, state in moves), strict=True)
        await conn.execute(_sql["move_children"], *map(list, columns))


async def follow_child(conn: Connection, run_id: str, going_on: str) -> None:
    """Let the run that goes on from a child stand for the step instead. Idempotent."""
    await conn.execute(_sql["follow_child"], run_id, going_on)


async def children_of(conn: Connection, run_id: str) -> list[ChildRow]:
    """Return the children of a run in the order in which they were asked for."""
    return [_child_row(row) for row in await conn.fetch(_sql["children_of"], run_id)]


async def parents_of(conn: Connection, run_ids: Sequence[str]) -> dict[str, ParentRow]:
    """Return the steps that runs stand for, by run; those that stand for none are left out."""
    rows = [dict(row) for row in await conn.fetch(_sql["parents_of"], list(run_ids))]
    return {row.pop("run_id"): ParentRow(**row) for row in rows}


def _open_child(row: asyncpg.Record) -> OpenChild:
    fields: dict[str, Any] = dict(row)
    fields["state"] = ChildState(fields["state"])
    fields["tags"] = tuple(fields["tags"])
    fields["error"] = read_error(fields["error"])
    return OpenChild(**fields)


def _child_row(row: asyncpg.Record) -> ChildRow:
    fields: dict[str, Any] = dict(row)
    is_waiting = fields.pop("is_waiting")
    fields["state"] = ChildState(fields["state"])
    if fields["status"] is not None:
        fields["status"] = RunStatus.WAITING if is_waiting else RunStatus(fields["status"])
    return ChildRow(**fields)

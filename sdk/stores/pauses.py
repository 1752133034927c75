"""Pauses of whole workflows and queues, and which runs still have to hear of them.

A run hears of the pause of its workflow by a command of its own, whose ``name`` is the workflow. Which runs that is
still to be given to follows from the commands they have, so that it can be gone on with after any crash.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from .connection import Connection
from .queries import load_queries

_sql = load_queries("pauses")


class PauseKind(StrEnum):
    WORKFLOW = "workflow"
    QUEUE = "queue"


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    kind: PauseKind
    name: str
    by: str | None
    reason: str
    created_at: datetime


class RunToTell(NamedTuple):
    """A run that has not heard of the pause, or of the end of the pause, of its workflow ``name``."""

    run_id: str
    name: str
    by: str | None
    reason: str


async def put_pause(conn: Connection, env: str, kind: PauseKind, name: str, *, by: str | None, reason: str) -> bool:
    """Return whether it is new; one that stands is left as it is."""
    return await conn.fetchval(_sql["put_pause"], env, str(kind), name, by, reason) is not None


async def end_pause(conn: Connection, env: str, kind: PauseKind, name: str) -> bool:
    """Return whether there was one."""
    return await conn.fetchval(_sql["end_pause"], env, str(kind), name) is not None


async def forget_pauses(conn: Connection, env: str) -> None:
    """Remove those that ended a minute ago. For who has just seen that no run is left to be told of that."""
    await conn.execute(_sql["forget_pauses"], env)


async def list_pauses(conn: Connection, env: str) -> list[Pause]:
    """Return what is paused now."""
    rows = await conn.fetch(_sql["list_pauses"], env)
    return [msgspec.convert(dict(row), Pause) for row in rows]


async def runs_to_pause(conn: Connection, env: str, name: str | None, limit: int) -> list[RunToTell]:
    """Runs of paused workflows that neither were paused nor resumed since. name: of one workflow; None: all."""
    return [RunToTell(*row) for row in await conn.fetch(_sql["runs_to_pause"], env, name, limit)]


async def runs_to_resume(conn: Connection, env: str, name: str | None, limit: int) -> list[RunToTell]:
    """Runs that stand still since the pause of their workflow, which has ended."""
    return [RunToTell(*row) for row in await conn.fetch(_sql["runs_to_resume"], env, name, limit)]

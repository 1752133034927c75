"""Pausing whole workflows and queues.

A workflow: its row in ``pauses`` comes first, then every run that lives is given the command ``pause``. A run that is
started meanwhile gets that command behind its start: what was handed out in between goes on, and nothing else does.
Runs that were missed, or not told because somebody died, are told by a supervisor. A run that was resumed by itself
stays so, and one that had been paused by itself is not resumed with its workflow.

A queue: workers look every few seconds which of theirs are paused and read those no more; what they hold goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..errors import InputInvalid, IrUnreadable, RunNotFound, WorkflowNotFound
from ..keys import Keys
from ..stores import workflows
from ..stores.command_bodies import Body
from ..stores.connection import Connection, Pool
from ..stores.errors import UnknownWorkflow
from ..stores.pauses import (
    Pause,
    PauseKind,
    RunToTell,
    end_pause,
    forget_pauses,
    list_pauses,
    put_pause,
    runs_to_pause,
    runs_to_resume,
)
from ..submissions.said_texts import TEXT_CHARS_MAX
from ..unavailable import AsUnavailable
from .control import Control, State

PAGE = 500
SYSTEM = "system"
"""The queue of the engine's own tokens."""
log = structlog.get_logger()


class PauseResult(msgspec.Struct, frozen=True, kw_only=True):
    """``state``: no_effect: it was so before; accepted: Redis is still to be told, or a run that only a newer version
    can read. ``runs``: how many were told.

    ``by``: who has asked for it, as it is kept.
    """

    kind: PauseKind
    name: str
    state: State
    runs: int = 0
    by: str | None = None


class _Told(NamedTuple):
    """``missed``: how many runs could not be told here, and are still to be."""

    runs: int
    missed: int


class Pausing:
    """Pauses workflows and queues of one environment. Idempotent."""

    def __init__(self, redis: Redis, pool: Pool, keys: Keys, control: Control, *, partitions: int) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._control = control
        self._partitions = partitions

    async def pause(self, kind: PauseKind, name: str, reason: str, by: str | None) -> PauseResult:
        """Raises WorkflowNotFound, InputInvalid, ServiceUnavailable."""
        _check(kind, name, reason, by)
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                if kind is PauseKind.WORKFLOW:
                    await self._check_workflow(conn, name)
                is_new = await put_pause(conn, self._keys.env, kind, name, by=by, reason=reason)
                return await self._carry_out(conn, kind, name, by, is_new=is_new)

    async def resume(self, kind: PauseKind, name: str, by: str | None) -> PauseResult:
        """Raises InputInvalid, ServiceUnavailable."""
        _check(kind, name, "", by)
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                is_new = await end_pause(conn, self._keys.env, kind, name)
                return await self._carry_out(conn, kind, name, by, is_new=is_new)

    async def list(self) -> list[Pause]:
        """Return what is paused. Raises ServiceUnavailable."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                return await list_pauses(conn, self._keys.env)

    async def catch_up(self, conn: Connection) -> int:
        """Tell a page of runs that have not heard, and Redis which queues are paused; return how many runs."""
        env = self._keys.env
        await self._tell_queues(conn)
        paused = await self._tell(conn, await runs_to_pause(conn, env, None, PAGE), "pause")
        resumed = await self._tell(conn, await runs_to_resume(conn, env, None, PAGE), "resume")
        told = paused.runs + resumed.runs
        if not told and not resumed.missed:
            await forget_pauses(conn, env)
        return told

    async def _carry_out(
        self, conn: Connection, kind: PauseKind, name: str, by: str | None, *, is_new: bool
    ) -> PauseResult:
        runs = 0
        state: State = "applied" if is_new else "no_effect"
        if kind is PauseKind.WORKFLOW:
            env = self._keys.env
            while (paused := await self._tell(conn, await runs_to_pause(conn, env, name, PAGE), "pause")).runs:
                runs += paused.runs
            while (resumed := await self._tell(conn, await runs_to_resume(conn, env, name, PAGE), "resume", by)).runs:
                runs += resumed.runs
            if paused.missed or resumed.missed:
                state = "accepted"
        else:
            try:
                await self._tell_queues(conn)
            except (RedisError, OSError) as error:
                log.warning("queues_left_to_reconciler", error=str(error))
                state = "accepted"
        return PauseResult(kind=kind, name=name, state=state, runs=runs, by=by)

    async def _tell(self, conn: Connection, runs: Iterable[RunToTell], kind: str, by: str | None = None) -> _Told:
        count = missed = 0
        for run in runs:
            try:
                target = await self._control.find(conn, run.run_id)
            except (RunNotFound, WorkflowNotFound, IrUnreadable) as error:  # nobody else waits for that
                log.warning("run_not_told", run_id=run.run_id, kind=kind, error=error.message)
                missed += 1
                continue
            body = Body(name=run.name, reason=run.reason if kind == "pause" else "")
            done = await self._control.give(conn, target, kind, body, run.by if kind == "pause" else by)
            count += done.number > 0
        return _Told(count, missed)

    async def _tell_queues(self, conn: Connection) -> None:
        wanted = {one.name for one in await list_pauses(conn, self._keys.env) if one.kind is PauseKind.QUEUE}
        for number in range(self._partitions):
            key = self._keys.partition(number).paused
            known = {name.decode() for name in await self._redis.smembers(key)}
            if wanted - known:
                await self._redis.sadd(key, *(wanted - known))
            if known - wanted:
                await self._redis.srem(key, *(known - wanted))

    async def _check_workflow(self, conn: Connection, name: str) -> None:
        try:
            await workflows.get(conn, self._keys.env, name)
        except UnknownWorkflow as error:
            raise WorkflowNotFound(str(error)) from error


def _check(kind: PauseKind, name: str, reason: str, by: str | None) -> None:
    """Raises InputInvalid, naming the field."""
    for field, text in (("name", name), ("reason", reason), ("by", by or "")):
        if len(text) > TEXT_CHARS_MAX or "\x00" in text:
            raise InputInvalid(f"{field}: wanted at most {TEXT_CHARS_MAX:,} characters, and none that is NUL")
    if kind is PauseKind.QUEUE and (not name or name == SYSTEM):
        raise InputInvalid(f"the queue {name!r} cannot be paused: the engine's own work stands in 'system'")

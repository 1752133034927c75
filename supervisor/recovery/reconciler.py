"""The reconciler: starts and commands that Postgres has committed and Redis has not heard of are applied again.

Safe while the log lags behind. Starts: a run that is in Redis is not started twice, its keys stay until its last event
is in the log and a while longer, and who looked at Postgres too long ago is refused. Commands: a script applies only
the next number of a run that it knows and that has not ended, so what comes late, twice or out of order does nothing;
of a run that a recovery writes back, the last number comes from the log, and what is missing follows.

A run that goes on from a long one takes its time to begin. While the reconciler runs nobody waits for that: such starts
are applied beside everything else, a few at once in all partitions of a process.

A start that cannot be applied stops no other. Where nothing can change that, as when the log of its base was moved away
or emptied since, it is answered: the run begins, and ends at once with the reason. What another version of this program
or a key might change is put off, again and again, for a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ...sdk.base_terms import decode_terms
from ...sdk.errors import CouranteError, NotRestartable
from ...sdk.events import ErrorInfo
from ...sdk.fault_points import reach
from ...sdk.floor.commanding import apply_in_order, last_applied
from ...sdk.floor.scripts import BackPressure, Closed, Late
from ...sdk.floor.starting import StartWindow, refuse_start
from ...sdk.keys import Keys
from ...sdk.marking.marking import Corrupt
from ...sdk.marking.plan import Plan
from ...sdk.restarts.bases import apply_all_starts
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS
from ...sdk.sealing.sealing import seal_error
from ...sdk.secrets.redaction import REDACTOR
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.stores.commands import (
    FIRST,
    StartCommand,
    StartToApply,
    commands_after,
    commands_to_apply,
    starts_to_apply,
)
from ...sdk.stores.connection import Connection, Pool
from ...sdk.submissions.catalog import Catalog

LOOK_S = 2.0
OLDER_THAN_MS = 3_000
BATCH = 500
AT_ONCE = 2
"""Runs that go on from others, begun at once by one process: a processor is what they want most, and each has a
connection to Postgres meanwhile.
"""
PUT_OFF_S = 5.0
PUT_OFF_S_MAX = 600.0
FORGOTTEN_S = 600.0
"""After it was not tried again for so long, a start that was put off is as any other."""
MAY_CHANGE = frozenset({"unknown_way", "unreadable"})
"""Reasons that another version of this program, or a key ring, may take away."""
MAY_CHANGE_FOR = timedelta(days=1)
log = structlog.get_logger()


class _Off(NamedTuple):
    until: float
    wait_s: float
    xact: int


class _PutOff:
    """Runs that nothing could be applied to, for a while, and longer each time."""

    def __init__(self) -> None:
        self._runs: dict[str, _Off] = {}

    def known(self) -> dict[str, int]:
        """Return the runs that were put off of late, with the transaction that asked for it."""
        now = anyio.current_time()
        self._runs = {run_id: off for run_id, off in self._runs.items() if now < off.until + FORGOTTEN_S}
        return {run_id: off.xact for run_id, off in self._runs.items()}

    def waiting(self) -> dict[str, int]:
        """Return those of them that are left alone now."""
        now = anyio.current_time()
        return {run_id: xact for run_id, xact in self.known().items() if now < self._runs[run_id].until}

    def due(self, limit: int) -> list[str]:
        """Return those of them that may be tried again, first who may for longest."""
        now = anyio.current_time()
        found = sorted((off.until, run_id) for run_id, off in self._runs.items() if off.until <= now)
        return [run_id for _, run_id in found[:limit]]

    def forget(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._runs.pop(run_id, None)

    def add(self, run_id: str, xact: int) -> None:
        before = self._runs.get(run_id)
        wait_s = PUT_OFF_S if before is None else min(PUT_OFF_S_MAX, 2 * before.wait_s)
        self._runs[run_id] = _Off(anyio.current_time() + wait_s, wait_s, xact)


class Reconciler:
    """Applies the forgotten starts and commands of one partition.

    turns: of all partitions of this process, for those who go on from others.
    """

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        partition: int,
        catalog: Catalog,
        outbox_hard_max: int,
        *,
        turns: anyio.CapacityLimiter | None = None,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._number = partition
        self._catalog = catalog
        self._outbox_hard_max = outbox_hard_max
        self._starts_off = _PutOff()
        self._commands_off = _PutOff()
        self._walked = FIRST  # what nothing can be done about yet, as the run has not begun, keeps no other waiting
        self._beside: TaskGroup | None = None
        self._under_way: dict[str, int] = {}
        self._turns = turns or anyio.CapacityLimiter(AT_ONCE)
        self._own_turns = anyio.CapacityLimiter(AT_ONCE)  # so that many of one partition go before none of another
        self.applied = 0

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        async with anyio.create_task_group() as group:
            self._beside = group
            try:
                await self._look_on()
            finally:
                self._beside = None

    async def _look_on(self) -> None:
        while True:
            await anyio.sleep(LOOK_S)
            try:
                await self.apply()
                await self.apply_commands()
            except (Closed, BackPressure, Late) as error:
                log.warning("reconciler_refused", error=type(error).__name__, partition=self._number)
            except (*SERVER_ERRORS, CouranteError) as error:
                log.warning("reconciler_failed", error=str(error), partition=self._number)

    async def apply(self, *, older_than_ms: int | None = None) -> int:
        """Apply what is missing; return how many runs were started. What is begun beside ``run`` is not waited for.

        older_than_ms: younger starts are left to who has committed them; 0 after a recovery, where nobody will come.
        """
        window = await StartWindow.now(self._redis, self._keys.partition(self._number))
        if window is None:
            return 0
        off, under_way = self._starts_off.known(), self._under_way
        again = [run_id for run_id in self._starts_off.due(BATCH) if run_id not in under_way]
        async with self._pool.acquire() as conn:
            missing = await starts_to_apply(
                conn,
                self._keys.env,
                self._number,
                older_than_ms=OLDER_THAN_MS if older_than_ms is None else older_than_ms,
                limit=BATCH,
                put_off=off | under_way,
                restarts=BATCH - len(under_way),
                again=again,
            )
        self._starts_off.forget(set(again) - {one.run_id for one in missing})
        if not missing:
            return 0
        starts: list[_Start] = []
        for one in missing:
            try:
                starts.append(_Start(_command(self._keys.env, one), await self._catalog.plan(one.ir_hash), one.xact))
            except (CouranteError, msgspec.MsgspecError) as error:
                self._put_off(one.run_id, one.xact, error)
        reach("before_reconcile")
        if self._beside is not None:
            starts = self._begin_beside(self._beside, starts)
            if not starts:
                return 0
        try:
            applied = await self._apply(starts, window)
        except (ResponseError, NotRestartable, Corrupt) as error:
            log.warning("starts_refused", error=str(error), runs=len(starts), partition=self._number)
            applied = await self._apply_apart(starts, window)
        reach("after_reconcile")
        if applied:
            log.info("starts_applied_again", runs=applied, partition=self._number)
        self.applied += applied
        return applied

    def _begin_beside(self, group: TaskGroup, starts: Sequence[_Start]) -> list[_Start]:
        """Begin those that go on from others, as many as are kept in mind; return what is to be applied now.

        One may be under way by now: the guard looks as well, after a recovery.
        """
        for start in starts:
            run_id, under_way = start.command.run_id, self._under_way
            if start.command.base_seq is not None and run_id not in under_way and len(under_way) < BATCH:
                under_way[run_id] = start.xact
                group.start_soon(self._go_on, start)
        return [start for start in starts if start.command.base_seq is None]

    async def _go_on(self, start: _Start) -> None:
        try:
            async with self._own_turns, self._turns:
                window = await StartWindow.now(self._redis, self._keys.partition(self._number))
                applied = 0 if window is None else await self._apply_apart([start], window)
            reach("after_reconcile")
            if applied:
                log.info("starts_applied_again", runs=applied, partition=self._number)
            self.applied += applied
        except (Closed, BackPressure, Late, *SERVER_ERRORS, CouranteError) as error:
            said = str(error) or type(error).__name__
            log.warning("reconciler_failed", run_id=start.command.run_id, error=said, partition=self._number)
        except Exception as error:  # a base is whatever has happened to a run
            log.exception("start_failed", run_id=start.command.run_id, partition=self._number)
            self._put_off(start.command.run_id, start.xact, error)
        finally:
            del self._under_way[start.command.run_id]

    async def apply_commands(self) -> int:
        """Apply the commands that are missing; return how many reached their runs."""
        async with self._pool.acquire() as conn:
            off = self._commands_off.waiting() | self._starts_off.waiting() | self._under_way
            limits = {"older_than_ms": OLDER_THAN_MS, "limit": BATCH}
            missing = await commands_to_apply(
                conn, self._keys.env, self._number, **limits, put_off=off, after=self._walked
            )
            self._walked = missing[-1].place if len(missing) == BATCH else FIRST
            first = {one.run_id: one for one in reversed(missing)}
            applied = 0
            for run_id, one in first.items():
                try:
                    reach("before_commands")
                    applied += await self._apply_missing(conn, run_id, await self._catalog.plan(one.ir_hash, conn))
                except (CouranteError, msgspec.MsgspecError, ValueError, LookupError, ResponseError) as error:
                    log.error("command_impossible", run_id=run_id, error=str(error) or repr(error))
                    self._commands_off.add(run_id, one.xact)
        if applied:
            reach("after_commands")
            log.info("commands_applied_again", commands=applied, partition=self._number)
        self.applied += applied
        return applied

    async def _apply_missing(self, conn: Connection, run_id: str, plan: Plan) -> int:
        """Apply what a run misses, in order. A run that Redis does not know is left to the starts, or has ended."""
        partition = self._keys.partition(self._number)
        known = await last_applied(self._redis, partition, run_id)
        if not known:
            return 0
        commands = [(run_id, plan, command) for command in await commands_after(conn, run_id, known)]
        hard_max = self._outbox_hard_max
        verdicts = await apply_in_order(self._redis, self._keys, partition, commands, outbox_hard_max=hard_max)
        return sum(verdict in "AN" for verdict in verdicts)

    async def _apply_apart(self, starts: Sequence[_Start], window: StartWindow) -> int:
        """One by one, so that a start that is refused stops no other."""
        applied = 0
        for start in starts:
            try:
                applied += await self._apply([start], window)
            except NotRestartable as error:
                applied += await self._answer(start, error, window)
            except (ResponseError, Corrupt) as error:
                self._put_off(start.command.run_id, start.xact, error)
        return applied

    async def _answer(self, start: _Start, refusal: NotRestartable, window: StartWindow) -> int:
        """End a run that cannot begin as it was asked for; or wait, where that may change."""
        command = start.command
        asked_at = command.created_at or datetime.now(UTC)
        if refusal.reason in MAY_CHANGE and datetime.now(UTC) - asked_at < MAY_CHANGE_FOR:
            self._put_off(command.run_id, start.xact, refusal)
            return 0
        log.warning("start_answered", run_id=command.run_id, reason=refusal.reason, error=str(refusal))
        told = ErrorInfo(type="NOT_RESTARTABLE", message=REDACTOR.redact(str(refusal)))
        partition = self._keys.partition(self._number)
        hard_max = self._outbox_hard_max
        is_new = await refuse_start(
            self._redis,
            self._keys,
            partition,
            command,
            start.plan,
            seal_error(told),
            outbox_hard_max=hard_max,
            window=window,
        )
        return int(is_new)

    def _put_off(self, run_id: str, xact: int, error: Exception) -> None:
        log.error("start_impossible", run_id=run_id, error=str(error))
        self._starts_off.add(run_id, xact)

    async def _apply(self, starts: Sequence[_Start], window: StartWindow) -> int:
        partition = self._keys.partition(self._number)
        hard_max = self._outbox_hard_max
        wanted = [(start.command, start.plan) for start in starts]
        return await apply_all_starts(
            self._redis, self._pool, self._keys, partition, wanted, outbox_hard_max=hard_max, window=window
        )


class _Start(NamedTuple):
    command: StartCommand
    plan: Plan
    xact: int


def _command(env: str, found: StartToApply) -> StartCommand:
    """Raises PayloadUnreadable."""
    names = set(StartCommand.__struct_fields__)
    values = {name: value for name, value in msgspec.structs.asdict(found).items() if name in names}
    values["input"] = PAYLOAD_TERMS.decode(found.input)
    values["base_terms"] = decode_terms(found.base_terms)
    return StartCommand(env=env, **values)

"""The watch: tells what only a person can change, by log and as an alert that status and health show.

Runs in which nothing happens any more: a step whose handler or queue no live worker has stays READY for ever, by
design, for a worker may come. Runs that wait for a time, a person or a signal are not stuck, and neither are those
whose step is in the hands of a worker that lives. After how long is said by the document or the settings; the document
may also ask that the run fails then.

A Redis that evicts keys, keeps nothing or is no primary: looked at once a minute, for anybody may set it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import anyio
import structlog
from redis.asyncio import Redis

from ...compiler.diagnostics import Severity
from ...sdk.errors import CouranteError, IrUnreadable
from ...sdk.floor.calling import Word
from ...sdk.floor.clock import read_clock
from ...sdk.floor.repairs import drain_runs
from ...sdk.floor.scripts import OUTBOX_HARD_MAX, BackPressure, Closed
from ...sdk.health.durability import inspect_redis
from ...sdk.keys import Keys
from ...sdk.marking.plan import Plan
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.settings import STUCK_MS
from ...sdk.stores.alerts import Alert, AlertKind, replace_alerts
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.runs import StuckRun, stuck_runs
from ...sdk.stores.workflows import ir_hashes
from ...sdk.submissions.catalog import Catalog

LOOK_S = 10.0
UNSAFE_S = 60.0
RUNS_MAX = 1_000
ALIVE = timedelta(seconds=60)
log = structlog.get_logger()


class Watch:
    """Watches one environment. Logs ``run_stuck`` once per run and standstill.

    Events bear the time of Redis, so ages are taken by it too.
    """

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        catalog: Catalog,
        *,
        stuck_ms: int = STUCK_MS,
        outbox_hard_max: int = OUTBOX_HARD_MAX,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._catalog = catalog
        self._stuck_ms = stuck_ms
        self._outbox_hard_max = outbox_hard_max
        self._limits: dict[str, int | None] = {}
        self._said: dict[str, datetime] = {}
        self._unsafe: frozenset[str] = frozenset()
        self._looked_at = -UNSAFE_S

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                if anyio.current_time() - self._looked_at >= UNSAFE_S:
                    await self.look_at_redis()
                    self._looked_at = anyio.current_time()
                await self.look()
            except (*SERVER_ERRORS, CouranteError, Closed, BackPressure) as error:
                log.warning("watch_failed", error=str(error) or repr(error))
            await anyio.sleep(LOOK_S)

    async def look(self) -> list[str]:
        """Return the runs that are stuck; those not told of before are logged, and fail if their document says so."""
        now = datetime.fromtimestamp(await read_clock(self._redis), UTC)
        async with self._pool.acquire() as conn:
            limits = await self._limits_of_irs(conn)
            found = await stuck_runs(
                conn,
                self._keys.env,
                since=now - timedelta(milliseconds=self._stuck_ms),
                by_ir={ir_hash: now - timedelta(milliseconds=ms) for ir_hash, ms in limits.items()},
                alive_since=now - ALIVE,
                limit=RUNS_MAX,
            )
            await replace_alerts(conn, self._keys.env, AlertKind.RUN_STUCK, [_alert(run) for run in found])
        for run in found:
            if self._said.get(run.run_id) != run.last_event_at:
                log.warning(
                    "run_stuck",
                    run_id=run.run_id,
                    workflow=run.workflow,
                    last_event_at=run.last_event_at.isoformat(),
                    hint="is a worker with its handler and queue running?",
                )
        self._said = {run.run_id: run.last_event_at for run in found}
        await self._fail(found)
        return [run.run_id for run in found]

    async def look_at_redis(self) -> list[str]:
        """Return the codes of what makes Redis unsafe; what was not so before is logged."""
        problems = [one for one in (await inspect_redis(self._redis)).problems if one.severity is Severity.ERROR]
        for problem in problems:
            if problem.code not in self._unsafe:
                log.critical("redis_unsafe", code=problem.code, error=problem.message, hint=problem.hint)
        self._unsafe = frozenset(problem.code for problem in problems)
        now = datetime.fromtimestamp(await read_clock(self._redis), UTC)
        alerts = [
            Alert(kind=AlertKind.REDIS_UNSAFE, subject=problem.code, message=problem.message, since=now)
            for problem in problems
        ]
        async with self._pool.acquire() as conn:
            await replace_alerts(conn, self._keys.env, AlertKind.REDIS_UNSAFE, alerts)
        return sorted(self._unsafe)

    async def _limits_of_irs(self, conn: Connection) -> dict[str, int]:
        """After how many ms a run of an IR is stuck, where its document says so. An IR never changes."""
        for ir_hash in await ir_hashes(conn, self._keys.env):
            if ir_hash not in self._limits:
                plan = await self._readable(ir_hash, conn)
                self._limits[ir_hash] = None if plan is None else plan.ir.stuck_ms
        return {ir_hash: ms for ir_hash, ms in self._limits.items() if ms is not None}

    async def _readable(self, ir_hash: str, conn: Connection | None = None) -> Plan | None:
        """Return an IR, None where only a newer version can read it."""
        try:
            return await self._catalog.plan(ir_hash, conn)
        except IrUnreadable as error:
            log.warning("runs_watched_by_the_setting", ir=ir_hash, error=error.message)
            return None

    async def _fail(self, found: Sequence[StuckRun]) -> None:
        """End those whose document asks for it; not one in which something has happened meanwhile."""
        words: dict[int, list[Word]] = {}
        for run in found:
            plan = await self._readable(run.ir_hash)
            if plan is not None and plan.ir.fails_when_stuck:
                words.setdefault(run.partition, []).extend((run.run_id, run.last_seq, plan.closes))
        for number, some in words.items():
            partition = self._keys.partition(number)
            verdicts = await drain_runs(self._redis, partition, "stuck", some, outbox_hard_max=self._outbox_hard_max)
            for run_id, verdict in zip(some[::3], verdicts, strict=True):
                if verdict == "A":
                    log.warning("run_failed_for_being_stuck", run_id=run_id)


def _alert(run: StuckRun) -> Alert:
    at = run.last_event_at.isoformat(timespec="seconds")
    message = f"nothing has happened in run {run.run_id} of {run.workflow} since {at}"
    return Alert(kind=AlertKind.RUN_STUCK, subject=run.run_id, message=message, since=run.last_event_at)

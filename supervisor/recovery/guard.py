"""The guard: keeps Redis and the log of one partition together. Records while they agree, recovers where they do not.

It looks once a second at the epoch in Redis and in Postgres and at which server this is; the recorder compares every
entry besides. What a person must decide (Postgres is behind Redis) is said aloud, and nothing is recorded meanwhile.
"""

from __future__ import annotations

import anyio
import msgspec
import structlog
from redis.asyncio import Redis

from ...sdk.errors import CouranteError
from ...sdk.floor.scripts import BackPressure, Closed, Fenced, Late
from ...sdk.floor.standing import BEHIND_HINT, STANDBY_S, Standing, Verdict, judge, look
from ...sdk.keys import Keys
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.homes import recovery_lock, settle_home, touch_home
from ..recording.entries import LogDiverged
from ..recording.recorder import Recorder
from .reconciler import Reconciler
from .recovery import Recovered, Recovery

TRANSIENT = (*SERVER_ERRORS, Closed, BackPressure, Late, CouranteError)
SEEN_BY_LOOK = frozenset({"cursor", "epoch", "partition_seq"})
"""Kinds of divergence that a look at the partition finds as well, or they are over."""
log = structlog.get_logger()


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``patience_s``: how long somebody else's recovery is waited for that makes no progress to be seen."""

    look_s: float = 1.0
    standby_s: float = STANDBY_S
    patience_s: float = 60.0
    backoff_s: float = 0.2
    backoff_s_max: float = 10.0


class Guard:
    """Guards one partition. Several may, in any number of processes. ``turn``: of the recoveries of this process."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        partition: int,
        *,
        recorder: Recorder,
        recovery: Recovery,
        reconciler: Reconciler,
        turn: anyio.Lock,
        settings: GuardSettings | None = None,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._number = partition
        self._partition = keys.partition(partition)
        self._recorder = recorder
        self._recovery = recovery
        self._reconciler = reconciler
        self._settings = settings or GuardSettings()
        self._log = log.bind(env=keys.env, partition=partition)
        self._turn = turn
        self._said = ""
        self._failures = 0
        self._seen: object = None
        self._seen_at = 0.0
        self.recovered: list[Recovered] = []

    async def run(self) -> None:
        """Guard until cancelled."""
        diverged: LogDiverged | None = None
        while True:
            try:
                standing = await self._look(is_thorough=True)
                if diverged is not None and standing.verdict is Verdict.SOUND and diverged.kind not in SEEN_BY_LOOK:
                    standing = msgspec.structs.replace(standing, verdict=Verdict.LOST, reason=str(diverged))
                diverged = None
                if standing.verdict is Verdict.SOUND:
                    self._said, self._failures = "", 0
                    diverged = await self._record()
                elif standing.verdict in (Verdict.LOST, Verdict.MOVED):
                    await self._recover(standing)
                else:
                    self._say(standing)
                    await anyio.sleep(self._settings.look_s)
            except Fenced:
                self._log.warning("recovery_overtaken")
                await self._rest()
            except TRANSIENT as error:
                self._log.warning("guard_failed", error=str(error) or repr(error))
                await self._rest()

    async def _rest(self) -> None:
        """The longer, the more often it went wrong: each attempt begins an epoch."""
        await anyio.sleep(min(self._settings.backoff_s_max, self._settings.backoff_s * 2**self._failures))
        self._failures += 1

    async def _look(self, *, is_thorough: bool) -> Standing:
        async with self._pool.acquire() as conn:
            found = await look(self._redis, conn, self._keys.env, self._partition, self._number, outbox=is_thorough)
            standing = judge(found, self._number, standby_s=self._settings.standby_s)
            if standing.verdict is Verdict.SOUND and found.incarnation:
                note = settle_home if found.home is None else touch_home
                await note(conn, self._keys.env, self._number, found.epoch, found.incarnation)
        return standing

    async def _record(self) -> LogDiverged | None:
        """Record until something is wrong; return what the recorder found, if it was the recorder."""
        diverged: LogDiverged | None = None
        async with anyio.create_task_group() as group:

            async def record() -> None:
                nonlocal diverged
                try:
                    await self._recorder.run()
                except LogDiverged as error:
                    diverged = error
                    group.cancel_scope.cancel()

            group.start_soon(record)
            while True:
                await anyio.sleep(self._settings.look_s)
                try:
                    standing = await self._look(is_thorough=False)
                except TRANSIENT as error:
                    self._log.warning("guard_failed", error=str(error) or repr(error))
                    continue
                if standing.verdict is not Verdict.SOUND:
                    group.cancel_scope.cancel()
                    break
        return diverged

    async def _recover(self, standing: Standing) -> None:
        """Recover, or wait while somebody else does; then apply the starts that only Postgres has."""
        async with self._turn, recovery_lock(self._pool, self._keys.env, self._number) as (conn, is_mine):
            if not is_mine and not self._are_others_stalled(standing):
                await anyio.sleep(self._settings.backoff_s)
                return
            standing = await self._still(conn, standing)
            if standing.verdict not in (Verdict.LOST, Verdict.MOVED):
                return
            self.recovered.append(await self._recovery.recover(conn, standing))
        while await self._reconciler.apply(older_than_ms=0):
            pass

    async def _still(self, conn: Connection, standing: Standing) -> Standing:
        """What is to be said now: somebody else may have recovered it in between."""
        found = await look(self._redis, conn, self._keys.env, self._partition, self._number)
        before = standing.look
        if (found.cursor, found.epoch, found.closed_for) == (before.cursor, before.epoch, before.closed_for):
            return standing
        return judge(found, self._number, standby_s=self._settings.standby_s)

    def _are_others_stalled(self, standing: Standing) -> bool:
        """Whether who holds the lock has not come forward for so long that it is not waited for any more."""
        now, found = anyio.current_time(), standing.look
        seen = (found.cursor, found.epoch, found.closed_for, found.restored)
        if self._seen != seen:
            self._seen, self._seen_at = seen, now
        return now - self._seen_at > self._settings.patience_s

    def _say(self, standing: Standing) -> None:
        if standing.reason != self._said:
            self._said = standing.reason
            hint = BEHIND_HINT if standing.verdict is Verdict.BEHIND else "does this supervisor see the right Redis?"
            self._log.critical("partition_not_guarded", verdict=str(standing.verdict), error=standing.reason, hint=hint)

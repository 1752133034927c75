"""The mender: runs of which Redis has something else than the log, or nothing, are rebuilt from the log, one by one.

Somebody has deleted or overwritten the key of a run, or its counters contradict its records (``Audit``). Walks over the
unfinished runs of the log, slowly and always, and asks whether Redis has them. What is damaged is rebuilt as in every
recovery: in a new epoch, so that what anybody still holds of the run is void. A run whose log cannot be folded stays
halted, and one that is damaged again and again as well.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import anyio
import structlog
from redis.asyncio import Redis

from ...sdk.errors import CouranteError
from ...sdk.events import DAMAGES
from ...sdk.floor.live_marking import RunHead
from ...sdk.floor.scripts import BackPressure, Closed, Fenced, Late, look_at_runs
from ...sdk.floor.standing import Standing, Verdict, judge, look
from ...sdk.keys import Keys
from ...sdk.marking.marking import RunPhase
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.settings import AUDIT_S
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.homes import recovery_lock
from ...sdk.stores.log import last_events, read_halts
from ...sdk.stores.runs import UnfinishedRun, open_runs, unfinished_runs
from .audit import Audit
from .rebuild import AGAIN
from .recovery import Recovery

PAUSE_S = 0.1
"""After each page of a thousand runs."""
RUNS_MAX = 500
"""Of one recovery; the others come with the next."""
TIMES_MAX = 3
"""How often one supervisor rebuilds a run, before it leaves it to a person."""
MENDABLE = DAMAGES - {"log", "again", "unreadable"}
"""Why a run was halted that may go on when it is rebuilt."""
TRANSIENT = (*SERVER_ERRORS, Closed, BackPressure, Late, Fenced, CouranteError)
log = structlog.get_logger()


class Mender:
    """Mends the runs of one partition. ``turn``: of the recoveries of this process. ``mended``: how many until now."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        partition: int,
        *,
        audit: Audit,
        recovery: Recovery,
        turn: anyio.Lock,
        every_s: float = AUDIT_S,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._number = partition
        self._partition = keys.partition(partition)
        self._audit = audit
        self._recovery = recovery
        self._turn = turn
        self._every_s = every_s
        self._times: Counter[str] = Counter()
        self.mended = 0

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await anyio.sleep(self._every_s)
            try:
                await self.mend()
            except TRANSIENT as error:
                log.warning("mending_failed", error=str(error) or repr(error), partition=self._number)

    async def mend(self) -> int:
        """Rebuild what is damaged now; return how many runs that were."""
        suspects, self._audit.halted = self._audit.halted, set()
        async with self._pool.acquire() as conn:
            standing = await self._standing(conn)
            if standing.verdict is not Verdict.SOUND:
                return 0
            damaged = await self._halted(conn, sorted(suspects)) | await self._missing(conn)
        damaged = {run_id: self._or_again(run_id, damage) for run_id, damage in damaged.items()}
        if not damaged:
            return 0
        async with self._turn, recovery_lock(self._pool, self._keys.env, self._number) as (conn, is_mine):
            if not is_mine:
                return 0
            again = await self._standing(conn)
            if again.verdict is not Verdict.SOUND or again.look.epoch != standing.look.epoch:
                return 0  # somebody was faster, and what was damaged then need not be damaged now
            some = await self._still(dict(list(damaged.items())[:RUNS_MAX]))
            if not some:
                return 0
            for run_id, damage in some.items():
                log.error("run_damaged", run_id=run_id, damage=damage, hint="it is rebuilt from its log")
            self._times.update(list(some))
            recovered = await self._recovery.recover(conn, again, some)
        self.mended += recovered.rebuilt.runs
        return recovered.rebuilt.runs

    async def _standing(self, conn: Connection) -> Standing:
        return judge(await look(self._redis, conn, self._keys.env, self._partition, self._number), self._number)

    async def _still(self, damaged: dict[str, str]) -> dict[str, str]:
        """Those that Redis does not know, or has halted, at this moment."""
        looks = await look_at_runs(self._redis, self._partition, [(run_id, "") for run_id in damaged])
        pairs = zip(damaged.items(), looks, strict=True)
        return {run_id: damage for (run_id, damage), found in pairs if found.phase in (None, RunPhase.HALTED)}

    def _or_again(self, run_id: str, damage: str) -> str:
        """The word for the log: another one where this is the last time, and the run stays halted."""
        if self._times[run_id] < TIMES_MAX:
            return damage
        log.critical("run_given_up", run_id=run_id, hint=f"it was rebuilt {TIMES_MAX} times, and is damaged again")
        self._times[run_id] = 0
        return AGAIN

    async def _halted(self, conn: Connection, run_ids: list[str]) -> dict[str, str]:
        """Those that are halted in Redis, though their log does not say that this is how it must be.

        A run that is ahead of its log is looked at when the recorder has followed: why it was halted may be on its way.
        """
        if not run_ids:
            return {}
        ahead = await self._ahead(conn, run_ids)
        reasons = await read_halts(conn, run_ids)
        damaged: dict[str, str] = {}
        for run in await open_runs(conn, self._keys.env, run_ids):
            reason = reasons.get(run.run_id, "") if run.is_halted else "state"
            if reason in MENDABLE and run.run_id not in ahead:
                damaged[run.run_id] = reason
        return damaged

    async def _ahead(self, conn: Connection, run_ids: list[str]) -> set[str]:
        pipe = self._redis.pipeline(transaction=False)
        for run_id in run_ids:
            pipe.hget(self._partition.run(run_id), "h")  # pyright: ignore[reportUnusedCoroutine]
        heads = await pipe.execute(raise_on_error=False)
        logged = await last_events(conn, run_ids)
        ahead: set[str] = set()
        for run_id, head in zip(run_ids, heads, strict=True):
            with suppress(ValueError, AttributeError):  # what is no head says nothing
                if RunHead.read(head.decode()).seq > logged.get(run_id, 0):
                    ahead.add(run_id)
        return ahead

    async def _missing(self, conn: Connection) -> dict[str, str]:
        """Those that the log has and Redis has not. A run that has ended goes only when its end is in the log."""
        damaged: dict[str, str] = {}
        async for page in unfinished_runs(conn, self._keys.env, self._number):
            gone = await self._not_there(page)
            still = await open_runs(conn, self._keys.env, gone) if gone else []
            damaged |= {run.run_id: "missing" for run in still}
            await anyio.sleep(PAUSE_S)
        return damaged

    async def _not_there(self, runs: list[UnfinishedRun]) -> list[str]:
        names = [self._partition.run(run.run_id) for run in runs]
        if await self._redis.exists(*names) == len(names):
            return []
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.exists(name)  # pyright: ignore[reportUnusedCoroutine]
        return [run.run_id for run, is_there in zip(runs, await pipe.execute(), strict=True) if not is_there]

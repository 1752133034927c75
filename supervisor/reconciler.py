"""The reconciler: starts and commands that Postgres has committed and Redis has not heard of are applied again.

Safe while the log lags behind. Starts: a run that is in Redis is not started twice, its keys stay until its last event
is in the log and a while longer, and who looked at Postgres too long ago is refused. Commands: a script applies only
the next number of a run that it knows and that has not ended, so what comes late, twice or out of order does nothing;
of a run that a recovery writes back, the last number comes from the log, and what is missing follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ..sdk.base_terms import decode_terms
from ..sdk.bases import apply_all_starts
from ..sdk.catalog import Catalog
from ..sdk.commanding import apply_in_order, last_applied
from ..sdk.errors import CouranteError, NotRestartable
from ..sdk.fault_points import reach
from ..sdk.keys import Keys
from ..sdk.marking import Corrupt
from ..sdk.payload_terms import PAYLOAD_TERMS
from ..sdk.plan import Plan
from ..sdk.scripts import BackPressure, Closed, Late
from ..sdk.starting import StartWindow
from ..sdk.stores.commands import StartCommand, StartToApply, commands_after, commands_to_apply, starts_to_apply
from ..sdk.stores.connection import Connection, Pool
from ..sdk.unavailable import SERVER_ERRORS

LOOK_S = 2.0
OLDER_THAN_MS = 3_000
BATCH = 500
log = structlog.get_logger()


class Reconciler:
    """Applies the forgotten starts and commands of one partition."""

    def __init__(
        self, redis: Redis, pool: Pool, keys: Keys, partition: int, catalog: Catalog, outbox_hard_max: int
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._number = partition
        self._catalog = catalog
        self._outbox_hard_max = outbox_hard_max
        self.applied = 0

    async def run(self) -> None:
        """Look now and then, until cancelled."""
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
        """Apply what is missing; return how many runs were started.

        older_than_ms: younger starts are left to who has committed them; 0 after a recovery, where nobody will come.
        """
        window = await StartWindow.now(self._redis, self._keys.partition(self._number))
        if window is None:
            return 0
        async with self._pool.acquire() as conn:
            missing = await starts_to_apply(
                conn,
                self._keys.env,
                self._number,
                older_than_ms=OLDER_THAN_MS if older_than_ms is None else older_than_ms,
                limit=BATCH,
            )
        if not missing:
            return 0
        starts: list[tuple[StartCommand, Plan]] = []
        for one in missing:
            try:
                starts.append((_command(self._keys.env, one), await self._catalog.plan(one.ir_hash)))
            except (CouranteError, msgspec.MsgspecError) as error:
                log.error("start_impossible", run_id=one.run_id, error=str(error))
        reach("before_reconcile")
        try:
            applied = await self._apply(starts, window)
        except (ResponseError, NotRestartable, Corrupt) as error:
            log.error("starts_refused", error=str(error), runs=len(starts), partition=self._number)
            applied = await self._apply_apart(starts, window)
        reach("after_reconcile")
        if applied:
            log.info("starts_applied_again", runs=applied, partition=self._number)
        self.applied += applied
        return applied

    async def apply_commands(self) -> int:
        """Apply the commands that are missing; return how many reached their runs."""
        async with self._pool.acquire() as conn:
            missing = await commands_to_apply(
                conn, self._keys.env, self._number, older_than_ms=OLDER_THAN_MS, limit=BATCH
            )
            irs = {one.run_id: one.ir_hash for one in missing}
            applied = 0
            for run_id, ir_hash in irs.items():
                try:
                    reach("before_commands")
                    applied += await self._apply_missing(conn, run_id, await self._catalog.plan(ir_hash, conn))
                except (CouranteError, msgspec.MsgspecError, ValueError, ResponseError) as error:
                    log.error("command_impossible", run_id=run_id, error=str(error))
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

    async def _apply_apart(self, starts: Sequence[tuple[StartCommand, Plan]], window: StartWindow) -> int:
        """One by one, so that a start that is refused stops no other."""
        applied = 0
        for start in starts:
            try:
                applied += await self._apply([start], window)
            except (ResponseError, NotRestartable, Corrupt) as error:
                log.error("start_impossible", run_id=start[0].run_id, error=str(error))
        return applied

    async def _apply(self, starts: Sequence[tuple[StartCommand, Plan]], window: StartWindow) -> int:
        partition = self._keys.partition(self._number)
        hard_max = self._outbox_hard_max
        return await apply_all_starts(
            self._redis, self._pool, self._keys, partition, starts, outbox_hard_max=hard_max, window=window
        )


def _command(env: str, found: StartToApply) -> StartCommand:
    """Raises PayloadUnreadable."""
    names = set(StartCommand.__struct_fields__)
    values = {name: value for name, value in msgspec.structs.asdict(found).items() if name in names}
    values["input"] = PAYLOAD_TERMS.decode(found.input)
    values["base_terms"] = decode_terms(found.base_terms)
    return StartCommand(env=env, **values)

"""Recovery: a partition whose Redis has lost data is rebuilt from the log, in a new epoch.

1. The epoch is raised in Postgres: no recorder of an older one commits anything from then on.
2. The partition is closed in Redis: every script answers CLOSED.
3. What stands in the outbox and still continues the log is recorded; the rest is set aside for a while.
4. Runs, queues, timers and words of completion are removed; every unfinished run is folded from the log and written
   back, its tokens with the first fence of the new epoch, so that whatever older ones still do is refused.
5. The recorder's cursor begins a new outbox, and the partition is opened.

Where nothing is missing (the server was only restarted), the third step is followed by the opening: the new epoch makes
sure that no token of a future that was lost with the server's memory is taken for one that is made again.

Whoever dies at any of these leaves a closed partition, and the next one begins anew with the epoch after; whoever
sleeps is refused by the epochs in both servers. Several may try at once: a lock lets one through and spares the others
the work, but nothing depends on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import anyio
import msgspec
import structlog
from redis.asyncio import Redis

from ...sdk.fault_points import reach
from ...sdk.floor.opening import make_groups
from ...sdk.floor.repairs import clear_partition, close_partition, reopen_partition
from ...sdk.floor.scripts import Fenced
from ...sdk.floor.standing import Standing, Verdict
from ...sdk.keys import Keys
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.cursors import START, Cursor, open_cursor, raise_epoch, restart_cursor
from ...sdk.stores.homes import settle_home
from ...sdk.stores.runs import open_runs
from ...sdk.submissions.catalog import Catalog
from ..recording.entries import LogDiverged
from ..recording.map_results import NodeIds
from ..recording.recorder import Recorder, RecorderSettings
from .rebuild import Rebuild, Rebuilt

KEPT_S = 3_600
"""How long an outbox that does not continue the log is kept, for who wants to know what was in it."""
KEYS_AT_ONCE = 500
log = structlog.get_logger()


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery did. ``is_rebuilt``: False where nothing was missing, but for what the damaged runs had.

    ``drained``: events that were recorded first. ``set_aside``: outbox entries that did not continue the log.
    """

    partition: int
    reason: str
    epoch: int
    is_rebuilt: bool
    drained: int
    set_aside: int
    rebuilt: Rebuilt
    seconds: float


class Recovery:
    """Recovers one partition. ``node_ids``: as for ``Recorder``."""

    def __init__(
        self, redis: Redis, pool: Pool, keys: Keys, partition: int, catalog: Catalog, node_ids: NodeIds
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._number = partition
        self._partition = keys.partition(partition)
        self._catalog = catalog
        self._node_ids = node_ids

    async def recover(
        self, conn: Connection, standing: Standing, damaged: Mapping[str, str] | None = None
    ) -> Recovered:
        """Recover, whatever the verdict says; MOVED alone is content with a new epoch where nothing is missing.

        damaged: runs of which alone something is missing, each with a word that says what; only they are rebuilt then.
        Raises Fenced where somebody else is later, and what the clients raise; then look again, and begin anew.
        """
        began = anyio.current_time()
        found = standing.look
        env, number = self._keys.env, self._number
        reach("before_epoch")
        epoch = await raise_epoch(conn, env, number, above=max(found.epoch, found.closed_for))
        await settle_home(conn, env, number, epoch, found.incarnation)
        say = log.info if standing.verdict is Verdict.MOVED else log.warning
        say("recovery_started", env=env, partition=number, epoch=epoch, reason=standing.reason)
        reach("after_epoch")
        sequence = await close_partition(self._redis, self._partition, epoch)
        reach("after_close")
        drained, diverged = await self._drain()
        reach("after_drain")
        cursor = await self._own_cursor(conn, epoch)
        is_whole = diverged is None and sequence == cursor.partition_seq
        is_whole = is_whole and (standing.verdict is Verdict.MOVED or damaged is not None)
        set_aside = 0
        rebuilt = Rebuilt()
        if is_whole:
            if damaged:
                rebuilt = await self._mend(conn, epoch, damaged)
        else:
            set_aside = await self.count_left(cursor)
            rebuilt = await self._rebuild(conn, cursor)
        await self._own_cursor(conn, epoch)
        reach("before_open")
        await reopen_partition(self._redis, self._partition, epoch, rebuilt.calls)
        reach("after_open")
        await make_groups(self._redis, self._partition)
        done = Recovered(
            partition=number,
            reason=standing.reason,
            epoch=epoch,
            is_rebuilt=not is_whole,
            drained=drained,
            set_aside=set_aside,
            rebuilt=rebuilt,
            seconds=round(anyio.current_time() - began, 3),
        )
        say = log.info if is_whole else log.warning
        say("recovery_finished", env=env, **msgspec.to_builtins(done))
        return done

    async def _own_cursor(self, conn: Connection, epoch: int) -> Cursor:
        """Return the cursor. Raises Fenced where its epoch is another one by now."""
        cursor = await open_cursor(conn, self._keys.env, self._number)
        if cursor.epoch != epoch:
            raise Fenced
        return cursor

    async def _drain(self) -> tuple[int, LogDiverged | None]:
        """Record what continues the log; return how many events, and why there is more that does not."""
        settings = RecorderSettings(takes_older_epochs=True)
        recorder = Recorder(self._redis, self._pool, self._keys.env, self._number, self._node_ids, settings=settings)
        drained = 0
        try:
            while recorded := await recorder.record_batch():
                drained += recorded
        except LogDiverged as error:
            log.warning("outbox_set_aside", kind=error.kind, entry_id=error.entry_id, error=str(error))
            return drained, error
        finally:
            await recorder.aclose()
        return drained, None

    async def count_left(self, cursor: Cursor) -> int:
        """How many entries of the outbox are not in the log: all but those up to the cursor's, where that is there."""
        length = await self._redis.xlen(self._partition.outbox)
        if cursor.entry_id == START or not length:
            return length
        recorded = 0
        after = "-"
        while page := await self._redis.xrange(self._partition.outbox, after, cursor.entry_id, count=KEYS_AT_ONCE):
            recorded += len(page)
            after = f"({page[-1][0].decode()}"
        return length - recorded

    async def _rebuild(self, conn: Connection, cursor: Cursor) -> Rebuilt:
        epoch, partition = cursor.epoch, self._partition
        await clear_partition(self._redis, partition, epoch, [], partition_seq=cursor.partition_seq, kept_s=KEPT_S)
        reach("after_set_aside")
        if not await restart_cursor(conn, self._keys.env, self._number, epoch):
            raise Fenced
        await clear_partition(self._redis, partition, epoch, [partition.timers, partition.done])
        async for doomed in self._state():
            await clear_partition(self._redis, partition, epoch, doomed)
        reach("after_clear")
        rebuild = Rebuild(self._redis, conn, self._keys, self._number, self._catalog, epoch)
        await rebuild.write_irs()
        await rebuild.write_unfinished()
        reach("after_restore")
        return rebuild.done

    async def _mend(self, conn: Connection, epoch: int, damaged: Mapping[str, str]) -> Rebuilt:
        """Write the damaged runs anew. What they had in streams and timers bears older fences, and goes when met."""
        keys = list(map(self._partition.run, damaged))
        await clear_partition(self._redis, self._partition, epoch, keys)
        rebuild = Rebuild(self._redis, conn, self._keys, self._number, self._catalog, epoch, damaged)
        await rebuild.write(await open_runs(conn, self._keys.env, list(damaged)))
        return rebuild.done

    async def _state(self) -> AsyncIterator[list[str]]:
        """Yield the keys of runs and queues, some at a time; once all are gone it ends."""
        base = self._partition.base
        shares = (f"{base}{kind}:" for kind in ("slots", "slotq", "slotf", "fund", "fundq"))
        mine = (self._partition.run(""), self._partition.queue(""), *shares)
        cursor = 0
        while True:
            cursor, found = await self._redis.scan(cursor, match=f"{base}*", count=KEYS_AT_ONCE)
            if doomed := [name for key in found if (name := key.decode()).startswith(mine)]:
                yield doomed
            if not cursor:
                return

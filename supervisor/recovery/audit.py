"""The audit: walks over the runs, slowly and always, and mends what would have woken their tokens and is gone.

The records of a run are the truth, stream entries and timers only wake-ups: somebody may have trimmed a stream, deleted
a consumer with what was pending for it, or a timer. A token in a queue whose entry is gone, or is neither in somebody's
hands nor still to be delivered, gets a new one. Of a run that drains it takes away what nobody has in hands, so that a
run whose queues no worker reads ends as well. A run whose counters are wrong goes no further, until the mender has
rebuilt it.

How many tokens hold a slot of a concurrency key is counted beside the runs. A walk that has seen all runs puts that
right, where nobody has deleted the holders since it began: those that are missing are written down again on the way.
"""

from __future__ import annotations

import secrets
from functools import partial

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ...sdk.floor.repairs import audit_runs, audit_shares
from ...sdk.floor.scripts import OUTBOX_HARD_MAX, BackPressure, Closed
from ...sdk.keys import PartitionKeys
from ...sdk.settings import AUDIT_S

PAGE = 100
HELD = "held:"
PAUSE_S = 0.05
"""After each page: some 2,000 runs a second."""
log = structlog.get_logger()


class Audit:
    """Walks over the runs of one partition. ``requeued``: tokens that got a new entry until now.

    ``halted``: runs that go no further, since somebody has looked at them there (``Mender``).
    """

    def __init__(
        self,
        redis: Redis,
        partition: PartitionKeys,
        *,
        every_s: float = AUDIT_S,
        outbox_hard_max: int = OUTBOX_HARD_MAX,
    ) -> None:
        self._redis = redis
        self._partition = partition
        self._every_s = every_s
        self._outbox_hard_max = outbox_hard_max
        self._hurry = anyio.Event()
        self._told: set[str] = set()
        self.requeued = 0
        self.halted: set[str] = set()

    def hurry(self) -> None:
        """Somebody has seen that entries are gone: look now."""
        self._hurry.set()

    async def run(self) -> None:
        """Walk until cancelled."""
        while True:
            with anyio.move_on_after(self._every_s):
                await self._hurry.wait()
            self._hurry = anyio.Event()
            try:
                await self.walk()
            except (Closed, BackPressure):
                pass
            except (RedisError, OSError) as error:
                log.warning("audit_failed", error=str(error), partition=self._partition.base)

    async def walk(self) -> int:
        """Look at every run once; return how many tokens got a new entry. Raises Closed, BackPressure."""
        before = self.requeued
        prefix = self._partition.run("")
        mark = secrets.token_hex(8)
        names = await self._begin_shares(mark)
        cursor = 0
        while True:
            cursor, found = await self._redis.scan(cursor, match=f"{prefix}*", count=PAGE)
            await self._look([key.decode().removeprefix(prefix) for key in found])
            if not cursor:
                break
            await anyio.sleep(PAUSE_S)
        for name in names:
            await self._end_share(mark, name)
        return self.requeued - before

    async def _begin_shares(self, mark: str) -> list[str]:
        """Mark the holders of all concurrency keys; return the names of these."""
        cursor, names = 0, set[str]()
        while True:
            cursor, found = await self._redis.hscan(self._partition.meta, cursor, match=f"{HELD}*", count=PAGE)
            some = [field.decode().removeprefix(HELD) for field in found]
            if some:
                await audit_shares(
                    self._redis, self._partition, mark, "begin", some, outbox_hard_max=self._outbox_hard_max
                )
            names.update(some)
            if not cursor:
                return sorted(names)

    async def _end_share(self, mark: str, name: str) -> None:
        """Drop holders whom no run knows, and count those that are left."""
        tell = partial(audit_shares, self._redis, self._partition, mark, outbox_hard_max=self._outbox_hard_max)
        cursor, held = 0, f"{self._partition.base}slots:{name}"
        while True:
            cursor, found = await self._redis.hscan(held, cursor, count=PAGE)
            await tell("look", [name, *found])
            if not cursor:
                break
        await tell("end", [name])

    async def _look(self, run_ids: list[str]) -> None:
        cursor = "0"
        while run_ids:
            found = await audit_runs(
                self._redis, self._partition, run_ids, cursor=cursor, outbox_hard_max=self._outbox_hard_max
            )
            self.requeued += found.requeued
            if found.requeued or found.timed:
                log.error(
                    "orphans_found",
                    requeued=found.requeued,
                    timed=found.timed,
                    partition=self._partition.base,
                    hint="somebody has deleted from Redis what Courante has put there",
                )
            for run_id in set(found.halted) - self._told:
                log.error("run_corrupt", run_id=run_id, hint="its state contradicts itself; it goes no further")
            self._told.update(found.halted)
            self.halted.update(found.halted)
            run_ids, cursor = run_ids[found.seen :], found.cursor

"""Leases: what a worker has held in silence for longer than the lease is queued again, for any other.

The lease is the idle time of the pending entry, which Redis keeps; workers renew it. All that is decided is decided
in one script, so several supervisors may look at once.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.fault_points import reach
from ..sdk.floor.calling import Word
from ..sdk.floor.scripts import (
    OUTBOX_HARD_MAX,
    QUEUE_GROUP,
    BackPressure,
    Claims,
    Closed,
    claim_tokens,
    forget_consumers,
)
from ..sdk.keys import PartitionKeys

BATCH = 200
LOOK_S = 0.25
"""Together with the lease the time until a takeover."""
FAILED_S = 0.5
FORGET_EVERY_S = 60.0
FORGET_AFTER_S = 600.0
"""A consumer that has not even tried to read for so long, and has nothing pending, is taken out of its groups."""
log = structlog.get_logger()


class Leases:
    """Takes over the stale tokens of one partition. ``claimed``: how many until now.

    on_lost: called where entries are gone that were pending.
    """

    def __init__(
        self,
        redis: Redis,
        partition: PartitionKeys,
        *,
        lease_ms: int,
        outbox_hard_max: int = OUTBOX_HARD_MAX,
        batch: int = BATCH,
        forget_after_s: float = FORGET_AFTER_S,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._redis = redis
        self._partition = partition
        self._lease_ms = lease_ms
        self._outbox_hard_max = outbox_hard_max
        self._batch = batch
        self._forget_after_ms = max(forget_after_s * 1000, 2 * lease_ms)
        self._on_lost = on_lost
        self.claimed = 0

    async def run(self) -> None:
        """Look until cancelled."""
        forgets_at = 0.0
        while True:
            pause = LOOK_S
            try:
                await self.look()
                if anyio.current_time() >= forgets_at:
                    forgets_at = anyio.current_time() + FORGET_EVERY_S
                    await self.forget()
            except (Closed, BackPressure):
                pause = FAILED_S
            except (RedisError, OSError) as error:
                log.warning("claims_failed", error=str(error), partition=self._partition.base)
                pause = FAILED_S
            await anyio.sleep(pause)

    async def look(self) -> int:
        """Take over everything that is stale now; return how many. Raises Closed, BackPressure."""
        total = 0
        start: list[Word] = []
        while True:
            reach("before_claims")
            found = await claim_tokens(
                self._redis,
                self._partition,
                lease_ms=self._lease_ms,
                limit=self._batch,
                start=start,
                outbox_hard_max=self._outbox_hard_max,
            )
            self._tell(found)
            total += found.claimed
            self.claimed += found.claimed
            start = found.following
            if not start:
                return total

    async def forget(self) -> int:
        """Take out consumers of workers that are gone for long; return how many. Raises Closed."""
        names = sorted(name.decode() for name in await self._redis.smembers(self._partition.queues))
        streams = [self._partition.queue(name) for name in names]
        silent: set[str] = set()
        heard: set[str] = set()
        for stream in streams:
            if not await self._redis.exists(stream):
                continue
            for consumer in await self._redis.xinfo_consumers(stream, QUEUE_GROUP):
                is_silent = consumer["idle"] > self._forget_after_ms
                (silent if is_silent else heard).add(consumer["name"].decode())
        gone = sorted(silent - heard)
        for first in range(0, len(gone), self._batch):
            batch = gone[first : first + self._batch]
            verdicts = await forget_consumers(self._redis, self._partition, streams, batch)
            log.info("consumers_forgotten", count=verdicts.count("A"), partition=self._partition.base)
        return len(gone)

    def _tell(self, found: Claims) -> None:
        if found.claimed:
            reach("after_claims")
            log.warning("tokens_claimed", count=found.claimed, partition=self._partition.base)
        if found.lost:
            self._on_lost()
            log.error(
                "entries_lost",
                count=found.lost,
                partition=self._partition.base,
                hint="somebody has trimmed or deleted from a queue's stream; the audit makes new entries",
            )

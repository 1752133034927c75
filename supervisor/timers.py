"""Timers: tokens whose time has come are queued, in bounded batches, by a script that knows only Redis' clock."""

from __future__ import annotations

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.fault_points import reach
from ..sdk.floor.scripts import OUTBOX_HARD_MAX, BackPressure, Closed, release_timers
from ..sdk.keys import PartitionKeys

BATCH = 200
LOOK_S = 0.1
"""A timer may be set at any moment, also one that is due sooner than all others."""
log = structlog.get_logger()


class Timers:
    """Releases the timers of one partition."""

    def __init__(self, redis: Redis, partition: PartitionKeys, *, outbox_hard_max: int = OUTBOX_HARD_MAX) -> None:
        self._redis = redis
        self._outbox_hard_max = outbox_hard_max
        self._partition = partition
        self.released = 0

    async def run(self) -> None:
        """Release until cancelled."""
        while True:
            pause = LOOK_S
            try:
                reach("before_timers")
                released, following_ms = await release_timers(
                    self._redis, self._partition, BATCH, self._outbox_hard_max
                )
                self.released += released
                if released:
                    reach("after_timers")
                if released == BATCH:
                    continue
                if following_ms >= 0:
                    pause = min(LOOK_S, following_ms / 1000)
            except (Closed, BackPressure):
                pause = 0.5
            except (RedisError, OSError) as error:
                log.warning("timers_failed", error=str(error), partition=self._partition.base)
                pause = 0.5
            await anyio.sleep(max(0.001, pause))

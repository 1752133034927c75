"""Gauges: what the servers say of an environment now, read every few seconds and told at each scrape.

A scrape asks nobody. Every supervisor reads the same: take the largest, do not add. While Postgres is away the outbox
is still measured against the cursor that was known last, which nobody can move then.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import anyio
import structlog
from redis.asyncio import Redis

from ...sdk.health.health import Limits, Status, judge_health
from ...sdk.health.vitals import ANSWER_S, RedisVitals, Vitals, lag_ms, read_vitals
from ...sdk.keys import Keys
from ...sdk.metrics.exposition import AnySeries
from ...sdk.metrics.series import Key, Kind, Places, Series
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.stores.alerts import AlertKind
from ...sdk.stores.connection import Pool
from ...sdk.stores.cursors import read_cursor
from ...sdk.stores.statistics import count_open

LOOK_S = 5.0
MISSED_MAX = 3
QUEUES_MAX = 200
"""Queues that are told one by one; those that are seen later are ``other``."""
COUNT_S = 60.0
"""Open runs and dead letters are counted so often: it takes as long as there are many."""
log = structlog.get_logger()
_GAUGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("courante_redis_up", "Whether Redis answers.", ()),
    ("courante_postgres_up", "Whether Postgres answers.", ()),
    ("courante_health", "0: HEALTHY, 1: WARNING, 2: CRITICAL, as 'courante health' says it.", ()),
    ("courante_health_reasons", "Reasons for it.", ("code", "severity")),
    ("courante_workers", "Workers that live and read every partition.", ()),
    ("courante_partition_watched", "Whether a supervisor lives.", ("partition",)),
    ("courante_outbox_entries", "Entries of the outbox that are not let go.", ("partition",)),
    ("courante_outbox_limit_entries", "Beyond it no step is handed out (soft), nothing written (hard).", ("limit",)),
    ("courante_outbox_lag_seconds", "Age of the first event that is not in the log.", ("partition",)),
    ("courante_queue_waiting", "Steps that no worker has taken.", ("queue", "priority")),
    ("courante_queue_age_seconds", "Age of the first of them.", ("queue", "priority")),
    ("courante_queue_workers", "Workers that read a queue.", ("queue",)),
    ("courante_queue_paused", "Whether a queue is paused.", ("queue",)),
    ("courante_timers", "Timers that are set.", ("partition",)),
    ("courante_timers_due", "Those whose time has come.", ("partition",)),
    ("courante_runs_open", "Runs that have not ended, by their status.", ("status",)),
    ("courante_dead_letters_open", "Steps that failed for good and nobody has dealt with.", ()),
    ("courante_alerts", "What only a person can change.", ("kind",)),
    ("courante_redis_used_bytes", "Memory that Redis uses.", ()),
    ("courante_redis_maxmemory_bytes", "What it may use; 0: no limit.", ()),
)


class Gauges:
    """Reads for one environment. ``limits``: of health."""

    def __init__(self, redis: Redis, pool: Pool, keys: Keys, partitions: int, limits: Limits) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._partitions = partitions
        self._limits = limits
        kind: Kind = "gauge"
        self._series = {name: Series(name, help, *labels, kind=kind) for name, help, labels in _GAUGES}
        self._queues = Places(QUEUES_MAX)
        self._cursors: dict[int, str] = {}
        self._counted_at = -COUNT_S
        self.read_at = 0.0
        self.missing: list[str] = ["nothing has been read yet"]

    async def run(self) -> None:
        """Read now and then, until cancelled."""
        while True:
            try:
                await self.read()
            except SERVER_ERRORS as error:
                log.warning("gauges_failed", error=str(error) or repr(error))
            await anyio.sleep(LOOK_S)

    async def read(self) -> None:
        """Read everything once. A server that is away leaves its part out."""
        vitals = await read_vitals(self._redis, self._pool.acquire, self._keys, self._partitions)
        redis, postgres = vitals.redis, vitals.postgres
        self._set("courante_redis_up", float(redis is not None))
        self._set("courante_postgres_up", float(postgres is not None))
        self._judge(vitals)
        self._set_all("courante_alerts", {} if postgres is None else _kinds(one.kind for one in postgres.alerts))
        if postgres is not None:
            await self._read_cursors()
        if redis is not None:
            await self._read_partitions(redis)
            self._read_queues(redis)
        elif postgres is not None:
            self._forget_redis()
        if postgres is not None and anyio.current_time() - self._counted_at >= COUNT_S:
            async with self._pool.acquire() as conn:
                runs, dead = await count_open(conn, self._keys.env)
            self._set_all("courante_runs_open", {(status,): count for status, count in runs.items()})
            self._set("courante_dead_letters_open", dead)
            self._counted_at = anyio.current_time()
        postgres_error = vitals.postgres_error or vitals.schema_error
        away = (("Redis", redis, vitals.redis_error), ("Postgres", postgres, postgres_error))
        self.missing = [f"{name} does not answer: {error}" for name, found, error in away if found is None]
        self.read_at = time.monotonic()

    def unready(self) -> list[str]:
        """Why its supervisor can do no work now; nothing where it can."""
        if self.read_at and time.monotonic() - self.read_at > MISSED_MAX * LOOK_S + 2 * ANSWER_S:
            return ["the servers have not been read of late"]
        return self.missing

    def series(self) -> list[AnySeries]:
        """Return what was read last. From any thread."""
        return [*self._series.values()]

    def _judge(self, vitals: Vitals) -> None:
        found = judge_health(vitals, self._limits, self._keys.env)
        self._set("courante_health", list(Status).index(found.status))
        reasons: dict[Key, float] = {}
        for reason in found.reasons:
            key = reason.code, str(reason.severity)
            reasons[key] = reasons.get(key, 0) + 1
        self._set_all("courante_health_reasons", reasons)

    async def _read_cursors(self) -> None:
        async with self._pool.acquire() as conn:
            for number in range(self._partitions):
                cursor = await read_cursor(conn, self._keys.env, number)
                if cursor is not None:
                    self._cursors[number] = cursor.entry_id

    async def _read_partitions(self, redis: RedisVitals) -> None:
        watched: dict[Key, float] = {}
        entries: dict[Key, float] = {}
        lags: dict[Key, float] = {}
        timers: dict[Key, float] = {}
        due: dict[Key, float] = {}
        for found in redis.partitions:
            key = (str(found.partition),)
            partition = self._keys.partition(found.partition)
            watched[key], entries[key] = float(found.is_watched), found.outbox
            if found.partition in self._cursors:
                lags[key] = await lag_ms(self._redis, partition, self._cursors[found.partition], redis.at_s) / 1000
            timers[key] = await self._redis.zcard(partition.timers)
            due[key] = await self._redis.zcount(partition.timers, "-inf", redis.at_s * 1000)
        self._set_all("courante_partition_watched", watched)
        self._set_all("courante_outbox_entries", entries)
        self._set_all("courante_outbox_lag_seconds", lags)
        self._set_all("courante_timers", timers)
        self._set_all("courante_timers_due", due)
        limits: dict[Key, float] = {("soft",): self._limits.outbox_soft, ("hard",): self._limits.outbox_hard}
        self._set_all("courante_outbox_limit_entries", limits)
        self._set("courante_redis_used_bytes", redis.used_bytes)
        self._set("courante_redis_maxmemory_bytes", redis.maxmemory_bytes)

    def _read_queues(self, redis: RedisVitals) -> None:
        """Of those that are told as one: all that waits, the oldest of it, and the least workers that a queue has."""
        waiting: dict[Key, float] = {}
        ages: dict[Key, float] = {}
        workers: dict[Key, float] = {}
        paused: dict[Key, float] = {}
        for queue in redis.queues:
            (name,) = place = self._queues.place(queue.queue)
            for one in queue.priorities:
                key = name, one.priority
                waiting[key] = waiting.get(key, 0) + one.waiting
                ages[key] = max(ages.get(key, 0), one.oldest_ms / 1000)
            workers[place] = min(workers.get(place, queue.workers), queue.workers)
            paused[place] = min(paused.get(place, 1), float(queue.is_paused))
        self._set_all("courante_queue_waiting", waiting)
        self._set_all("courante_queue_age_seconds", ages)
        self._set_all("courante_queue_workers", workers)
        self._set_all("courante_queue_paused", paused)
        self._set("courante_workers", len(redis.workers))

    def _forget_redis(self) -> None:
        """What nobody can say now is not said."""
        for name in ("courante_workers", "courante_queue_waiting", "courante_queue_age_seconds", "courante_timers_due"):
            self._set_all(name, {})

    def _set(self, name: str, value: float) -> None:
        self._series[name].set({(): value})

    def _set_all(self, name: str, values: dict[Key, float]) -> None:
        self._series[name].set(values)


def _kinds(kinds: Iterable[AlertKind]) -> dict[Key, float]:
    """Return how many there are of each; 0 of those that there are none of, so that an alert ends."""
    found: dict[Key, float] = {(str(kind),): 0 for kind in AlertKind}
    for kind in kinds:
        found[str(kind),] += 1
    return found

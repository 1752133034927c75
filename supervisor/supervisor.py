"""The supervisor: a daemon of small loops, each safe in parallel with itself. Several may run.

intake (submissions -> commands -> runs), schedules (what the clock starts), pauses (of workflows and queues),
completion (counter zero -> end), timers, leases (what silent workers held), audit (what nobody would wake), reconciler
(committed starts and commands that Redis has not heard of), children (runs that are steps of others), guard (recorder:
outbox -> log and projections; recovery: log -> Redis), registry (workers -> Postgres), watch (runs in which nothing
happens any more), upkeep (partitions of the log for the months to come), collector (payloads that nobody needs),
retention (what is older than its policy says),
step logs (what steps say -> Postgres).
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup
from redis.asyncio import Redis

from ..sdk.client.client import Client
from ..sdk.client.control import Control
from ..sdk.connections import POSTGRES_CONNECTIONS_MAX, close_redis, connect_redis
from ..sdk.errors import CouranteError
from ..sdk.floor.calling import Word
from ..sdk.floor.cold_payloads import PostgresPayloads
from ..sdk.floor.repairs import drain_runs, halt_runs
from ..sdk.floor.scripts import OUTBOX_HARD_MAX, BackPressure, Closed, look_at_runs
from ..sdk.health.health import DEFAULT_LIMITS, Limits
from ..sdk.keys import PartitionKeys
from ..sdk.marking.marking import RunPhase
from ..sdk.metrics.exposition import AnySeries
from ..sdk.settings import (
    AUDIT_S,
    LEASE_MS,
    PAYLOAD_HOT_S,
    PAYLOAD_KEEP_S,
    RUN_EVENTS_MAX,
    STEP_LOG_KEEP_S,
    STUCK_MS,
    SUBFLOW_DEPTH_MAX,
)
from .children import Children
from .completion import Completion
from .intake import Intake
from .leases import Leases
from .monitoring.counting import Counting
from .monitoring.traces import Traces
from .monitoring.watch import Watch
from .pauses import Pauses
from .recording.entries import LogDiverged
from .recording.projections import Projection
from .recording.recorder import TRANSIENT, Recorder, RecorderSettings
from .recovery.audit import Audit
from .recovery.guard import Guard
from .recovery.mender import Mender
from .recovery.reconciler import AT_ONCE, Reconciler
from .recovery.recovery import Recovery
from .registry import Registry
from .retention.collector import Collector
from .retention.policy import Policy
from .retention.retention import Retention
from .schedules import Schedules
from .step_logs import StepLogs
from .timers import Timers
from .upkeep import Upkeep
from .webhooks import Webhooks

LAST_WORDS_S = 5.0
SILENCE_MS_MIN = 5_000
"""A supervisor that is silent for a lease loses what it has locked in Postgres as well. At least so long: the times
that a schedule has missed are looked for in the middle of a transaction.
"""
log = structlog.get_logger()


class Supervisor:
    """Watches the partitions of one environment. ``counts``: what it records, for ``series``. ``limits``: of health.

    ``otlp_url``: where runs go as traces, if anywhere. ``http_allow``, ``http_proxy``: the settings, for webhooks.
    """

    def __init__(
        self,
        *,
        redis_url: str,
        database_url: str,
        env: str = "default",
        partitions: int = 1,
        lease_ms: int = LEASE_MS,
        audit_s: float = AUDIT_S,
        stuck_ms: int = STUCK_MS,
        outbox_hard_max: int = OUTBOX_HARD_MAX,
        run_events_max: int = RUN_EVENTS_MAX,
        subflow_depth_max: int = SUBFLOW_DEPTH_MAX,
        payload_hot_s: float = PAYLOAD_HOT_S,
        payload_keep_s: float = PAYLOAD_KEEP_S,
        step_log_keep_s: float = STEP_LOG_KEEP_S,
        counts: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        otlp_url: str = "",
        http_allow: str = "",
        http_proxy: str = "",
        retention: Policy | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._redis_url = redis_url
        self._client = Client(
            redis_url=redis_url,
            database_url=database_url,
            env=env,
            partitions=partitions,
            outbox_hard_max=outbox_hard_max,
            silence_ms=max(lease_ms, SILENCE_MS_MIN),
            connections_max=partitions + POSTGRES_CONNECTIONS_MAX,  # a recorder keeps one
        )
        self._partitions = partitions
        self._lease_ms = lease_ms
        self._audit_s = audit_s
        self._stuck_ms = stuck_ms
        self._outbox_hard_max = outbox_hard_max
        self._run_events_max = run_events_max
        self._subflow_depth_max = subflow_depth_max
        self._payload_terms = {"hot_s": payload_hot_s, "keep_s": payload_keep_s}
        self._step_log_keep_s = step_log_keep_s
        self._counts = counts
        self._limits = limits
        self._counting: Counting | None = None
        self._otlp_url = otlp_url
        self._http = (http_allow, http_proxy)
        self._hearing: list[Callable[[Projection], None]] = []
        self._policy = retention or Policy()
        self._stopping = anyio.Event()

    async def run(self) -> None:
        """Watch until ``stop``. The schema must be up to date. Raises ServiceUnavailable."""
        redis = connect_redis(self._redis_url)
        readers = 5 * self._partitions + 4
        blocking = connect_redis(self._redis_url, is_blocking=True, connections_max=readers)
        try:
            async with self._client as client:
                await client.prepare()
                log.info("supervisor_started", supervisor=self.name, env=client.keys.env)
                turn, restarts = anyio.Lock(), anyio.CapacityLimiter(AT_ONCE)
                if self._counts:
                    self._counting = Counting(redis, client, self._partitions, self._limits)
                    self._hearing.append(self._counting.hear)
                traces = Traces(client.pool, client.keys.env, self._otlp_url) if self._otlp_url else None
                if traces is not None:
                    self._hearing.append(traces.hear)
                recorders: list[Recorder] = []
                async with anyio.create_task_group() as group:
                    partitions = range(self._partitions)
                    recorders += [self._watch(group, redis, blocking, number, turn, restarts) for number in partitions]
                    group.start_soon(Schedules(client).run)
                    group.start_soon(Pauses(client).run)
                    group.start_soon(Webhooks(client.pool, client.keys.env, *self._http).run)
                    group.start_soon(self._watch_all(redis).run)
                    group.start_soon(Upkeep(client.pool).run)
                    group.start_soon(self._collector(redis).run)
                    if self._counting is not None:
                        group.start_soon(self._counting.run)
                    if traces is not None:
                        group.start_soon(traces.run)
                    group.start_soon(self._retention(redis).run)
                    await self._stopping.wait()
                    group.cancel_scope.cancel()
                await _record_the_rest(recorders)
        finally:
            await close_redis(blocking, redis)
        log.info("supervisor_stopped", supervisor=self.name)

    def series(self) -> list[AnySeries]:
        """What was counted and read until now. From any thread."""
        return [] if self._counting is None else self._counting.series()

    def unready(self) -> list[str]:
        """Why it can do no work now; nothing where it can. Of one that counts."""
        if self._stopping.is_set():
            return ["it is stopping"]
        return ["it has not begun"] if self._counting is None else self._counting.unready()

    def _watch_all(self, redis: Redis) -> Watch:
        client = self._client
        limits = {"stuck_ms": self._stuck_ms, "outbox_hard_max": self._outbox_hard_max}
        return Watch(redis, client.pool, client.keys, client.catalog, **limits)

    def _retention(self, redis: Redis) -> Retention:
        client = self._client
        return Retention(redis, client.pool, client.keys, self._policy, partitions=self._partitions)

    def _collector(self, redis: Redis) -> Collector:
        client = self._client
        return Collector(redis, client.pool, client.keys, partitions=self._partitions, **self._payload_terms)

    def _watch(
        self,
        group: TaskGroup,
        redis: Redis,
        blocking: Redis,
        number: int,
        turn: anyio.Lock,
        restarts: anyio.CapacityLimiter,
    ) -> Recorder:
        """Start the loops of one partition; return its recorder."""
        client = self._client
        keys, pool, catalog = client.keys, client.pool, client.catalog
        partition, hard_max = keys.partition(number), self._outbox_hard_max
        completion = Completion(
            redis, blocking, keys, partition, catalog, self.name, PostgresPayloads(keys.env, pool=pool)
        )
        intake = Intake(redis, blocking, keys, number, client, self.name)
        reconciler = Reconciler(redis, pool, keys, number, catalog, hard_max, turns=restarts)
        control = Control(redis, pool, keys, catalog, outbox_hard_max=hard_max)
        children = Children(client, control, number, depth_max=self._subflow_depth_max)
        halt = partial(_halt, redis, partition)
        recorder = Recorder(
            redis,
            pool,
            keys.env,
            number,
            self._node_ids,
            blocking=blocking,
            settings=RecorderSettings(run_events_max=self._run_events_max, counts=self._counting is not None),
            on_quarantine=halt,
            on_long=partial(self._end_long, redis, partition),
            on_recorded=partial(_tell_all, [children.hear, *self._hearing]),
        )
        recovery = Recovery(redis, pool, keys, number, catalog, self._node_ids)
        guard = Guard(redis, pool, keys, number, recorder=recorder, recovery=recovery, reconciler=reconciler, turn=turn)
        audit = Audit(redis, partition, every_s=self._audit_s, outbox_hard_max=hard_max)
        mender = Mender(redis, pool, keys, number, audit=audit, recovery=recovery, turn=turn, every_s=self._audit_s)
        leases = Leases(redis, partition, lease_ms=self._lease_ms, on_lost=audit.hurry, outbox_hard_max=hard_max)
        timers = Timers(redis, partition, outbox_hard_max=hard_max)
        if self._counting is not None:
            self._counting.follow(number, recorder, leases, timers, audit)
        loops = (
            completion.run,
            completion.sweep,
            intake.run,
            intake.sweep,
            reconciler.run,
            guard.run,
            timers.run,
            leases.run,
            audit.run,
            mender.run,
            children.run,
            Registry(redis, pool, keys, partition).run,
            StepLogs(redis, blocking, pool, keys, number, keep_s=self._step_log_keep_s).run,
        )
        for loop in loops:
            group.start_soon(loop)
        return recorder

    def stop(self) -> None:
        """End all loops. Nothing is lost: every one of them goes on where the next supervisor finds it."""
        self._stopping.set()

    async def _node_ids(self, ir_hash: str) -> list[str]:
        return (await self._client.catalog.plan(ir_hash)).node_ids

    async def _end_long(self, redis: Redis, partition: PartitionKeys, run_id: str) -> None:
        """A run that has more events than it may have fails. Where it cannot be told so now, it is with its next."""
        limit = self._run_events_max
        try:
            (found,) = await look_at_runs(redis, partition, [(run_id, "")])
            if found.phase not in (RunPhase.RUNNING, RunPhase.PAUSED):
                return
            closes = (await self._client.catalog.plan(found.ir_hash)).closes
            words: list[Word] = [run_id, f">{limit}", closes]
            verdict = await drain_runs(redis, partition, "too_long", words, outbox_hard_max=self._outbox_hard_max)
        except (Closed, BackPressure, CouranteError) as error:
            log.warning("run_not_drained", run_id=run_id, error=str(error))
            return
        if verdict == "A":
            log.error("run_too_long", run_id=run_id, run_events_max=limit)


def _tell_all(hearing: Sequence[Callable[[Projection], None]], projection: Projection) -> None:
    for hear in hearing:
        hear(projection)


async def _halt(redis: Redis, partition: PartitionKeys, run_id: str) -> None:
    """An event of the run could not be stored: it goes no further before someone has looked at it."""
    verdict = await halt_runs(redis, partition, [run_id])
    log.error("run_halted", run_id=run_id, verdict=verdict)


async def _record_the_rest(recorders: list[Recorder]) -> None:
    """What workers have handed in before the stop is in the log when the process ends, as far as Postgres is there."""
    with anyio.move_on_after(LAST_WORDS_S):
        for recorder in recorders:
            try:
                while await recorder.record_batch():
                    pass
            except (*TRANSIENT, LogDiverged) as error:
                log.warning("recording_failed", error=repr(error))
            finally:
                with anyio.CancelScope(shield=True):
                    await recorder.aclose()

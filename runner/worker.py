"""The worker: a stateless process that runs tokens until it is told to stop.

It never exits on a passing fault. ``stop`` lets it finish what it holds; ``kill`` gives up at once.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.authoring.declared_tools import NOTHING_DECLARED, DeclaredTools
from ..sdk.authoring.steps import Steps
from ..sdk.connections import CLOSE_S, close_redis, connect_alone, connect_redis
from ..sdk.floor.clock import read_clock
from ..sdk.floor.cold_payloads import PostgresPayloads
from ..sdk.floor.presence import FORGOTTEN_S
from ..sdk.floor.scripts import OUTBOX_HARD_MAX, OUTBOX_SOFT_MAX, Closed, forget_consumers
from ..sdk.keys import Keys
from ..sdk.metrics.exposition import AnySeries
from ..sdk.retry_after import RETRY_AFTER_MS_MAX
from ..sdk.spending.prices import PriceTable
from .blobs import Blobs
from .elsewhere import Elsewhere
from .execution import Executor
from .lane import Lane
from .leases import Renewer
from .meter import Meter
from .models.terms import ModelTerms
from .plans import Plans
from .settling import Settler
from .slots import Slots
from .step_cache import StepCache
from .step_logs import StepLogs
from .terms import Terms
from .toolbox import Toolbox, open_toolbox

HEARTBEAT_S = 5.0
BEATS_MISSED_MAX = 3
"""A worker that could not say more often that it lives is not ready."""
HANDING_IN_S = 5.0
"""For what a worker that stops gives back after its grace time, and for its last words; where Redis is away, others
take it over.
"""
THREADS_EXTRA = 8
PAIRED_FROM = 32
"""Slots from which a worker has two lanes to a partition: one computes while the server runs the other's call."""
log = structlog.get_logger()


class Worker:
    """Runs tokens of ``env`` from Redis. ``queues``: named classes of work; the ``system`` queue is always read.

    ``database_url``: where payloads are that Redis has not any more; without it their steps are left to other workers,
    and fail where none takes them. ``meter``: counts what it does; without one nothing is counted. ``traces``: nodes of
    type ``http`` send a traceparent.
    """

    def __init__(
        self,
        *,
        redis_url: str,
        env: str = "default",
        partitions: Sequence[int] = (0,),
        queues: Sequence[str] = ("default",),
        steps: Steps,
        concurrency: int = 128,
        build: str = "",
        outbox_soft_max: int = OUTBOX_SOFT_MAX,
        outbox_hard_max: int = OUTBOX_HARD_MAX,
        retry_after_ms_max: int = RETRY_AFTER_MS_MAX,
        terms: Terms | None = None,
        http_allow: str = "",
        http_proxy: str = "",
        secrets_dir: Path | None = None,
        prices: PriceTable | None = None,
        declared: DeclaredTools = NOTHING_DECLARED,
        database_url: str = "",
        models: ModelTerms | None = None,
        meter: Meter | None = None,
        traces: bool = False,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._url = redis_url
        self._keys = Keys(env)
        self._partitions = list(partitions)
        self._queues = list(dict.fromkeys(queue for queue in queues if queue != "system"))
        self._handlers = [*steps.handlers(), *declared.handlers()]
        self._build = build
        pairs = 2 if concurrency >= PAIRED_FROM else 1
        self._concurrency = concurrency
        self._slots = [Slots((concurrency + pair) // pairs, len(partitions)) for pair in range(pairs)]
        self._limits = (outbox_soft_max, outbox_hard_max)
        self._retry_after_ms_max = retry_after_ms_max
        self._terms = terms or Terms()
        self._meter = meter
        self._beaten_at = -math.inf
        self._redis = connect_redis(redis_url)
        self._logs = StepLogs(self._redis)
        cold = PostgresPayloads(env, database_url=database_url) if database_url else None
        self._cache = StepCache(self._redis, self._keys, cold, lock_ms=self._terms.lease_ms)
        self._tools = partial(
            open_toolbox,
            steps,
            self.name,
            http_allow=http_allow,
            http_proxy=http_proxy,
            secrets_dir=secrets_dir,
            prices=prices,
            declared=declared,
            blobs=Blobs(self._redis, self._keys),
            cold=cold,
            models=models,
            logs=self._logs,
            traces=traces,
        )
        self._lanes: list[Lane] = []
        self._alone: list[Redis] = []
        self._renewer = Renewer(redis_url, self.name, self._terms, self._lanes)
        self._scope = anyio.CancelScope()
        self._stopping = anyio.Event()

    async def run(self) -> None:
        """Work until ``stop``; then leave nothing behind: neither an entry nor a consumer.

        What is not finished within the grace time is given back.
        """
        async with self._tools() as tools:
            await self._work(tools)

    async def _work(self, tools: Toolbox) -> None:
        plans = Plans(self._redis, self._keys)
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._concurrency + THREADS_EXTRA
        for number in self._partitions:
            for pair, slots in enumerate(self._slots):
                self._lanes.append(
                    self._make_lane(number, self.name if pair == 0 else f"{self.name}.{pair}", slots, plans, tools)
                )
        if self._stopping.is_set():
            self.stop()
        self._renewer.start(asyncio.get_running_loop())
        try:
            with self._scope:
                with suppress(RedisError, OSError):
                    await self._look_at_pauses()
                async with anyio.create_task_group() as group:
                    group.start_soon(self._heartbeat, tools.elsewhere)
                    group.start_soon(self._logs.run)
                    group.start_soon(self._cache.run)
                    group.start_soon(self._give_back_in_time)
                    async with anyio.create_task_group() as lanes:
                        for lane in self._lanes:
                            lanes.start_soon(lane.run)
                    group.cancel_scope.cancel()
                with anyio.move_on_after(HANDING_IN_S):
                    await self._logs.flush()
                    await self._cache.flush()
                    await self._leave()
        finally:
            self._renewer.stop()
            await self.close()
        log.info("worker_stopped", worker=self.name, applied=self.applied, refused=self.refused)

    def _make_lane(self, number: int, consumer: str, slots: Slots, plans: Plans, tools: Toolbox) -> Lane:
        partition = self._keys.partition(number)
        caller, listener = connect_alone(self._url), connect_alone(self._url)
        self._alone += (caller, listener)
        executor = Executor(
            redis=self._redis,
            keys=self._keys,
            partition=partition,
            consumer=self.name,
            plans=plans,
            tools=tools,
            retry_after_ms_max=self._retry_after_ms_max,
            terms=self._terms,
            send_reports=self._renewer.send_details,
            cache=self._cache,
            make_settler=Settler if self._meter is None else self._meter.settler,
        )
        lane = Lane(
            redis=self._redis,
            caller=caller,
            listener=listener,
            keys=partition,
            consumer=consumer,
            queues=self._queues,
            executor=executor,
            slots=slots,
            outbox_soft_max=self._limits[0],
            outbox_hard_max=self._limits[1],
        )
        if self._meter is not None:
            lane.on_taken = self._meter.taker(lane.names)
        return lane

    def series(self) -> list[AnySeries]:
        """What its meter has counted, and how the worker is now. From any thread."""
        assert self._meter is not None
        return self._meter.series(self._concurrency, self._lanes, self.blocked_s())

    def blocked_s(self) -> float:
        """Return for how long its loop has not answered. From any thread."""
        return self._renewer.watch.blocked_s

    def unready(self) -> list[str]:
        """Why it can do no work now; nothing where it can."""
        if self._stopping.is_set():
            return ["it is stopping"]
        if time.monotonic() - self._beaten_at > BEATS_MISSED_MAX * HEARTBEAT_S:
            return ["Redis does not answer"]
        closed = sorted({lane.keys.base for lane in self._lanes if not lane.is_open})
        return [f"the partition {base} is closed" for base in closed]

    def stop(self) -> None:
        """Take no more; finish what is held."""
        log.info("worker_stopping", worker=self.name)
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()
            lane.tell_stopping()

    async def _give_back_in_time(self) -> None:
        await self._stopping.wait()
        await anyio.sleep(self._terms.stop_grace_ms / 1000)
        log.warning("grace_over", worker=self.name, grace_ms=self._terms.stop_grace_ms)
        for lane in self._lanes:
            lane.give_back()
        await anyio.sleep(HANDING_IN_S)
        log.warning("left_unfinished", worker=self.name, held=sum(lane.held for lane in self._lanes))
        self.kill()

    def kill(self) -> None:
        """Stop at once. What is held is taken over by others when its lease has passed."""
        self._scope.cancel()

    async def close(self) -> None:
        """Also where it is cancelled: a connection that nobody closes keeps its server waiting."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
            # Its call may take as long as its timeout: nobody who is told to end at once waits for that.
            await anyio.to_thread.run_sync(self._renewer.join, abandon_on_cancel=True)
        await close_redis(*self._alone, self._redis)

    @property
    def applied(self) -> int:
        return sum(lane.applied for lane in self._lanes)

    @property
    def calls(self) -> int:
        """How many round trips took transitions or asked for tokens."""
        return sum(lane.calls for lane in self._lanes)

    @property
    def refused(self) -> int:
        return sum(lane.refused for lane in self._lanes)

    async def _heartbeat(self, elsewhere: Elsewhere) -> None:
        """Announce this worker: who, what it can run and was asked for in vain, that it lives."""
        facts: dict[str, str | bytes] = {
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "build": self._build,
            "handlers": msgspec.json.encode(self._handlers),
            "queues": msgspec.json.encode(self._queues),
        }
        is_first = True
        while True:
            try:
                now = await read_clock(self._redis)
                facts.setdefault("started_at", f"{now:.3f}")
                facts["wanted"] = msgspec.json.encode(elsewhere.wanted(time.monotonic()))
                for number in self._partitions:
                    partition = self._keys.partition(number)
                    key = partition.worker(self.name)
                    await self._redis.hset(key, mapping=facts | {"seen_at": f"{now:.3f}"})
                    await self._redis.expire(key, FORGOTTEN_S)
                    await self._redis.zadd(partition.workers, {self.name: now})
                for lane in self._lanes:
                    await self._redis.expire(lane.keys.worker(lane.consumer), FORGOTTEN_S)
                await self._look_at_pauses()
                self._beaten_at = time.monotonic()
                if is_first:
                    is_first = False
                    log.info("worker_started", worker=self.name, queues=self._queues, concurrency=self._concurrency)
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
            await anyio.sleep(HEARTBEAT_S)

    async def _look_at_pauses(self) -> None:
        """Which queues are not to be read now, before the first read and with every heartbeat."""
        for lane in self._lanes:
            found = cast("set[bytes]", await cast("Any", self._redis.smembers(lane.keys.paused)))
            lane.hear_paused(frozenset(name.decode() for name in found))

    async def _leave(self) -> None:
        """Drop the lanes' consumers from the groups, where nothing of theirs is pending, and their keys."""
        try:
            for lane in self._lanes:
                verdict = await forget_consumers(self._redis, lane.keys, lane.streams, [lane.consumer])
                if verdict == "A":
                    await self._redis.delete(lane.keys.worker(lane.consumer))
                    await self._redis.zrem(lane.keys.workers, lane.consumer)
        except (RedisError, OSError, Closed) as error:
            log.warning("worker_left_uncleanly", error=str(error))

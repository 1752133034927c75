"""Vitals: what Redis and Postgres say of one environment now, read for ``health`` to judge. Changes nothing.

A server that does not answer leaves its part out and says why. Cost: some round trips for each partition and queue,
not for each run; Postgres looks at the runs that have not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeAlias

import anyio
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...compiler.ir import decode_ir
from ..floor.clock import read_clock
from ..floor.presence import LiveWorker, is_watched, live_workers
from ..floor.scripts import QUEUE_GROUP
from ..floor.standing import Standing, judge, look
from ..keys import Keys, PartitionKeys
from ..server_errors import POSTGRES_ERRORS
from ..stores.alerts import Alert, list_alerts
from ..stores.connection import Connection
from ..stores.cursors import START, read_cursor
from ..stores.errors import SchemaError
from ..stores.migrate import pending
from ..stores.pauses import Pause, list_pauses
from ..stores.runs import Ends, HaltedRun, count_ends, halted_runs, unfinished_irs
from ..stores.workflows import get_ir
from .durability import Problem, inspect_postgres, inspect_redis

ANSWER_S = 10.0
"""So long a server is waited for."""
ENDS_S = 900
"""Runs that began within it are asked how they ended."""
IRS_MAX = 200
"""IRs of unfinished runs whose queues are looked at."""

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]


class PriorityVitals(msgspec.Struct, frozen=True, kw_only=True):
    """One priority of a queue. ``waiting``: tokens that nobody has taken; ``oldest_ms``: the age of the first."""

    priority: str
    waiting: int
    oldest_ms: int


class QueueVitals(msgspec.Struct, frozen=True, kw_only=True):
    """One queue of all partitions. ``waiting``, ``oldest_ms``: of all its ``priorities``."""

    queue: str
    waiting: int
    oldest_ms: int
    workers: int
    is_paused: bool
    priorities: tuple[PriorityVitals, ...] = ()


class PartitionVitals(msgspec.Struct, frozen=True, kw_only=True):
    """``outbox``: entries. ``lag_ms``: age of the first one that is not in the log; None where that is not known.

    ``standing``: None where one of the servers is away, or the partition was never opened.
    """

    partition: int
    is_open: bool
    is_watched: bool
    outbox: int
    lag_ms: int | None = None
    standing: Standing | None = None


class RedisVitals(msgspec.Struct, frozen=True, kw_only=True):
    """``at_s``: its clock, s since the epoch. ``maxmemory_bytes`` 0: no limit."""

    at_s: float
    problems: tuple[Problem, ...]
    used_bytes: int
    maxmemory_bytes: int
    workers: list[LiveWorker]
    partitions: list[PartitionVitals]
    queues: list[QueueVitals]


class PostgresVitals(msgspec.Struct, frozen=True, kw_only=True):
    """``missing``: migrations; with any, nothing else was asked. ``opened``: partitions that have been opened once.
    ``ends``: of the runs of the last ``ENDS_S``.
    """

    problems: tuple[Problem, ...] = ()
    missing: tuple[str, ...] = ()
    opened: frozenset[int] = frozenset()
    alerts: tuple[Alert, ...] = ()
    halted: tuple[HaltedRun, ...] = ()
    pauses: tuple[Pause, ...] = ()
    streams: frozenset[str] = frozenset()
    ends: Ends = Ends()


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """``redis`` or ``postgres`` is None where it does not answer, and the error says why."""

    redis: RedisVitals | None
    postgres: PostgresVitals | None
    redis_error: str = ""
    postgres_error: str = ""
    schema_error: str = ""


async def read_vitals(redis: Redis, connect: Connect, keys: Keys, partitions: int) -> Vitals:
    """Ask both servers. Raises nothing of theirs."""
    postgres: PostgresVitals | None = None
    standings: dict[int, Standing] = {}
    postgres_error = schema_error = redis_error = ""
    try:
        with anyio.fail_after(ANSWER_S):
            async with connect() as conn:
                postgres = await _ask_postgres(conn, keys, partitions)
                try:
                    for number in postgres.opened:
                        standings[number] = await _stand(redis, conn, keys, number)
                except RedisError as error:
                    redis_error = _text(error)
    except SchemaError as error:
        schema_error = str(error)
    except POSTGRES_ERRORS as error:
        postgres_error = _text(error)
    found: RedisVitals | None = None
    try:
        with anyio.fail_after(ANSWER_S):
            found = await _ask_redis(redis, keys, partitions, standings, postgres)
        redis_error = ""
    except (RedisError, OSError) as error:
        redis_error = _text(error)
    return Vitals(
        redis=found,
        postgres=postgres,
        redis_error=redis_error,
        postgres_error=postgres_error,
        schema_error=schema_error,
    )


async def _ask_postgres(conn: Connection, keys: Keys, partitions: int) -> PostgresVitals:
    problems = (await inspect_postgres(conn)).problems
    missing = await pending(conn)
    if missing:
        return PostgresVitals(problems=problems, missing=tuple(missing))
    env = keys.env
    opened = [number for number in range(partitions) if await read_cursor(conn, env, number) is not None]
    streams: set[str] = set()
    for ir_hash in await unfinished_irs(conn, env, IRS_MAX):
        content = await get_ir(conn, env, ir_hash)
        with suppress(msgspec.MsgspecError):  # a newer version can read it, and tells what waits there
            streams |= {node.stream for node in decode_ir(content).nodes} if content else set()
    return PostgresVitals(
        problems=problems,
        opened=frozenset(opened),
        alerts=tuple(await list_alerts(conn, env)),
        halted=tuple(await halted_runs(conn, env)),
        pauses=tuple(await list_pauses(conn, env)),
        streams=frozenset(streams),
        ends=await count_ends(conn, env, ENDS_S),
    )


async def _stand(redis: Redis, conn: Connection, keys: Keys, number: int) -> Standing:
    return judge(await look(redis, conn, keys.env, keys.partition(number), number), number)


async def _ask_redis(
    redis: Redis, keys: Keys, partitions: int, standings: dict[int, Standing], postgres: PostgresVitals | None
) -> RedisVitals:
    report = await inspect_redis(redis)
    at_s = await read_clock(redis)
    workers = await live_workers(redis, keys.env, partitions)
    found: list[PartitionVitals] = []
    queues: dict[str, QueueVitals] = {}
    for number in range(partitions):
        partition = keys.partition(number)
        standing = standings.get(number)
        cursor = None if standing is None else standing.look.cursor
        found.append(
            PartitionVitals(
                partition=number,
                is_open=await redis.hexists(partition.meta, "epoch"),
                is_watched=await is_watched(redis, partition),
                outbox=await redis.xlen(partition.outbox),
                lag_ms=None if cursor is None else await lag_ms(redis, partition, cursor.entry_id, at_s),
                standing=standing,
            )
        )
        streams = {name.decode() for name in await redis.smembers(partition.queues)}
        paused = {name.decode() for name in await redis.smembers(partition.paused)}
        for stream in sorted(streams | (postgres.streams if postgres else frozenset())):
            await _add_queue(redis, partition, stream, paused, workers, at_s, queues)
    return RedisVitals(
        at_s=at_s,
        problems=report.problems,
        used_bytes=report.used_bytes,
        maxmemory_bytes=report.maxmemory_bytes,
        workers=workers,
        partitions=found,
        queues=[queues[name] for name in sorted(queues)],
    )


async def _add_queue(
    redis: Redis,
    partition: PartitionKeys,
    stream: str,
    paused: set[str],
    workers: Iterable[LiveWorker],
    at_s: float,
    queues: dict[str, QueueVitals],
) -> None:
    """Add what waits in one stream, ``queue:priority``, to its queue."""
    name, _, priority = stream.rpartition(":")
    waiting, oldest_ms = await _waiting(redis, partition.queue(stream), at_s)
    before = queues.get(name)
    known = {one.priority: one for one in before.priorities} if before else {}
    same = known.get(priority, PriorityVitals(priority=priority, waiting=0, oldest_ms=0))
    known[priority] = PriorityVitals(
        priority=priority, waiting=same.waiting + waiting, oldest_ms=max(same.oldest_ms, oldest_ms)
    )
    queues[name] = QueueVitals(
        queue=name,
        waiting=waiting + (before.waiting if before else 0),
        oldest_ms=max(oldest_ms, before.oldest_ms if before else 0),
        workers=sum(name in worker.queues for worker in workers),
        is_paused=name in paused,
        priorities=tuple(known.values()),
    )


async def _waiting(redis: Redis, stream: str, at_s: float) -> tuple[int, int]:
    """How many entries of a stream nobody has taken, and the age of the first of them in ms."""
    try:
        groups = await redis.xinfo_groups(stream)
    except ResponseError:  # there is no such stream
        return 0, 0
    group = next((one for one in groups if _name(one["name"]) == QUEUE_GROUP), None)
    after = "-" if group is None else f"({_name(group['last-delivered-id'])}"
    waiting = await redis.xlen(stream) - (0 if group is None else int(group["pending"]))
    first = await redis.xrange(stream, after, "+", count=1)
    if not first or waiting <= 0:
        return 0, 0
    return waiting, max(0, round(at_s * 1000) - int(first[0][0].split(b"-")[0]))


async def lag_ms(redis: Redis, partition: PartitionKeys, entry_id: str, at_s: float) -> int:
    """The age of the first entry after a cursor's; 0 where all is recorded."""
    after = "-" if entry_id == START else f"({entry_id}"
    first = await redis.xrange(partition.outbox, after, "+", count=1)
    return max(0, round(at_s * 1000) - int(first[0][0].split(b"-")[0])) if first else 0


def _name(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__

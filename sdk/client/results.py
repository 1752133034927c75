"""Results: what became of a run, from Redis while it is there, else from the log's projections.

A finished run is announced on a channel as a hint, and once more when its last event is in the log; who waits also
looks by itself now and then, and goes on waiting while a server restarts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..errors import RunNotFound
from ..floor.payloads import PayloadMissing, is_reference, load_payload
from ..keys import Keys
from ..moments import iso_text
from ..sealing.sealing import read_error
from ..server_errors import SERVER_ERRORS
from ..stores.connection import Pool
from ..stores.errors import UnknownRun
from ..stores.payloads import event_payload
from ..stores.runs import get_run

LOOK_S = 1.0
FAULT_S = 0.2
FIRST_S = 5.0
UNREACHABLE_S = 60.0
"""A wait goes on while Redis or Postgres restart, but not for longer; where nothing ever answered, less."""
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
log = structlog.get_logger()


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """``output``: the JSON value, None until COMPLETED. Times: ISO 8601 in UTC with ms."""

    run_id: str
    status: str
    output: Any = None
    error: dict[str, Any] | None = None
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class _Bell:
    """Somebody waits for a run; ``rung``: there may be news."""

    def __init__(self) -> None:
        self.rung = anyio.Event()


class Results:
    """Async context manager. One subscription serves all who wait."""

    def __init__(self, redis: Redis, pool: Pool, keys: Keys, partitions: int) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._partitions = partitions
        self._waiting: dict[str, list[_Bell]] = {}
        self._group: TaskGroup = anyio.create_task_group()
        self._is_listening = False
        self._subscribed = anyio.Event()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)

    async def wait(self, run_id: str, *, is_recorded: bool) -> RunResult:
        """Return when the run has ended. Raises RunNotFound; what the clients raise where nothing could be reached."""
        await self._listen()
        bell = _Bell()
        bells = self._waiting.setdefault(run_id, [])
        bells.append(bell)
        is_known, heard_at = False, anyio.current_time()
        try:
            while True:
                bell.rung = anyio.Event()
                pause_s = LOOK_S
                try:
                    found = await (self._read_recorded(run_id) if is_known and is_recorded else self.read(run_id))
                    if found is not None and found.is_final and (is_known or not is_recorded):
                        return found
                    pause_s = LOOK_S if is_known or not is_recorded else 0
                    is_known, heard_at = True, anyio.current_time()
                except SERVER_ERRORS as error:
                    log.warning("result_unreachable", run_id=run_id, error=str(error) or type(error).__name__)
                    if anyio.current_time() > heard_at + (UNREACHABLE_S if is_known else FIRST_S):
                        raise
                    pause_s = FAULT_S
                with anyio.move_on_after(pause_s):
                    await bell.rung.wait()
        finally:
            bells.remove(bell)
            if not bells:
                self._waiting.pop(run_id, None)

    async def _read_recorded(self, run_id: str) -> RunResult | None:
        """Return the result if its event is in the log."""
        recorded = await self._from_log(run_id)
        return recorded if recorded is not None and recorded.is_final else None

    async def read(self, run_id: str) -> RunResult:
        """Return what is known now; of a run that the log knows also while Redis is away. Raises RunNotFound."""
        unread: RedisError | OSError | None = None
        try:
            for number in range(self._partitions):
                found = await self._from_redis(run_id, number)
                if found is not None:
                    return found
        except (RedisError, OSError) as error:
            unread = error
        recorded = await self._from_log(run_id)
        if recorded is not None:
            return recorded
        if unread is not None:
            raise unread
        raise RunNotFound(f"there is no run {run_id}")

    async def _from_redis(self, run_id: str, number: int) -> RunResult | None:
        partition = self._keys.partition(number)
        head = await self._redis.hmget(partition.run(run_id), ["h", "end", "err", "at", "fin", "out"])
        content = head.pop()
        is_known, end, error, at, finished = (None if value is None else value.decode() for value in head)
        if is_known is None:
            return None
        output = None
        if end == "COMPLETED":
            if content is None:
                return None
            if is_reference(content):
                try:
                    content = await load_payload(self._redis, self._keys, content)
                except PayloadMissing:
                    return None
            output = msgspec.json.decode(content)
        return RunResult(
            run_id=run_id,
            status=end or "RUNNING",
            output=output,
            error=None if end == "COMPLETED" else _shown(error),
            started_at=_iso(at),
            finished_at=_iso(finished),
        )

    async def _from_log(self, run_id: str) -> RunResult | None:
        async with self._pool.acquire() as conn:
            try:
                run = await get_run(conn, run_id)
            except UnknownRun:
                return None
            if run.env != self._keys.env:
                return None
            output = None
            if run.output_seq is not None and run.status == "COMPLETED":
                content = await event_payload(conn, self._keys.env, run_id, run.output_seq)
                output = None if content is None else msgspec.json.decode(content)
        return RunResult(
            run_id=run_id,
            status=str(run.status),
            output=output,
            error=None if run.error is None else msgspec.to_builtins(run.error),
            started_at=None if run.started_at is None else iso_text(run.started_at),
            finished_at=None if run.finished_at is None else iso_text(run.finished_at),
        )

    async def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._group.start_soon(self._hear)
        with anyio.move_on_after(LOOK_S):
            await self._subscribed.wait()

    async def _hear(self) -> None:
        places = [self._keys.partition(number) for number in range(self._partitions)]
        channels = [channel for place in places for channel in (place.ended, place.recorded)]
        while True:
            try:
                async with self._redis.pubsub() as heard:
                    await heard.subscribe(*channels)
                    while True:
                        message = await heard.get_message(timeout=30.0)
                        if message is None:
                            continue
                        if message["type"] == "subscribe":
                            self._subscribed.set()
                        elif message["type"] == "message":
                            for run_id in message["data"].decode().split():
                                for bell in self._waiting.get(run_id, ()):
                                    bell.rung.set()
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
                await anyio.sleep(0.5)


def _shown(error: str | None) -> dict[str, Any] | None:
    found = read_error(error)
    return None if found is None else msgspec.to_builtins(found)


def _iso(ms: str | None) -> str | None:
    return None if ms is None else iso_text(datetime.fromtimestamp(int(ms) / 1000, UTC))

"""Waits: who wants the outcome of a run waits here until its final event is in the log.

The recorder's notice over Redis makes it quick; a look at the database every second makes it sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import anyio
import structlog
from redis.exceptions import RedisError

from ..keys import Keys
from .connection import Pool
from .runs import RunRow, final_runs, get_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import TaskGroup
    from redis.asyncio import Redis

LOOK_EVERY_S = 1.0

_log = structlog.get_logger()


class Waits:
    """For any number of runs of one environment over one subscription. ``async with``; then ``wait``.

    redis: without a socket timeout shorter than a second. One query per second while somebody waits, none else.
    """

    def __init__(self, redis: Redis, pool: Pool, env: str) -> None:
        self._redis = redis
        self._pool = pool
        self._pattern = f"{Keys(env).prefix}*:recorded"
        self._waiting: dict[str, set[anyio.Event]] = {}
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        await self._group.start(self._listen)
        self._group.start_soon(self._look)
        return self

    async def __aexit__(self, *exc: object) -> None:
        group, self._group = self._group, None
        assert group is not None
        group.cancel_scope.cancel()
        await group.__aexit__(None, None, None)

    async def wait(self, run_id: str) -> RunRow:
        """Return the run when its final event is in the log. No limit of its own. Raises UnknownRun."""
        event = anyio.Event()
        self._waiting.setdefault(run_id, set()).add(event)
        try:
            row = await self._get(run_id)
            if row.finished_at is None:
                await event.wait()
                row = await self._get(run_id)
            return row
        finally:
            events = self._waiting.get(run_id, set())
            events.discard(event)
            if not events:
                self._waiting.pop(run_id, None)

    async def _get(self, run_id: str) -> RunRow:
        async with self._pool.acquire() as conn:
            return await get_run(conn, run_id)

    def _wake(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            for event in self._waiting.get(run_id, ()):
                event.set()

    async def _listen(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """The quick way; where it fails the slow way is left, and it is tried again."""
        is_told = False
        while True:
            pubsub: Any = cast("Any", self._redis).pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.psubscribe(self._pattern)
                if not is_told:
                    is_told = True
                    task_status.started()
                while True:
                    message = await pubsub.get_message(timeout=LOOK_EVERY_S)
                    if message is not None:
                        self._wake(message["data"].decode().split(" "))
            except (RedisError, OSError) as error:
                _log.warning("subscription_lost", error=repr(error))
                if not is_told:
                    is_told = True
                    task_status.started()
                await anyio.sleep(LOOK_EVERY_S)
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                    await pubsub.aclose()

    async def _look(self) -> None:
        """The sure way."""
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            if self._waiting:
                try:
                    async with self._pool.acquire() as conn:
                        self._wake(await final_runs(conn, list(self._waiting)))
                except OSError as error:
                    _log.warning("wait_not_checked", error=repr(error))

"""Face: what a client offers for schedules, as ``client.schedules``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from ..errors import InputInvalid, ScheduleExists, ScheduleInvalid, ScheduleNotFound
from ..floor.clock import read_clock
from ..schedules import schedule_rows as store
from ..schedules import tick_rows as rows
from ..schedules.schedule import KeptSchedule, Overlap, Schedule, cadence_of, check_schedule, read_overlap
from ..schedules.tick import Origin, Tick, TickState, planned_tick, run_of, submission_of
from ..schedules.ticker import Ticker
from ..stores.connection import Connection
from ..submissions.submissions import start_command, to_utc
from ..unavailable import AsUnavailable
from .separation import check_starter

if TYPE_CHECKING:
    from ..floor.calling import Connection as Redis
    from .client import Client

BACKFILL_MAX = 10_000
NEXT_MAX = 1_000
TICKS_MAX = 1_000
_MS = timedelta(milliseconds=1)
_FAR = timedelta(days=36_525)
Clock = Callable[[], Awaitable[datetime]]


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """``ticks``: all in the span. ``filled``: those that will be started now; the others have had their run."""

    ticks: list[datetime]
    filled: list[datetime]


class Schedules:
    """The schedules of the client's environment. Everything raises ServiceUnavailable where a server is away."""

    def __init__(self, client: Client, redis: Redis, clock: Clock | None = None) -> None:
        self._client = client
        self._env = client.keys.env
        self._redis = redis
        self.clock: Clock = clock or self._redis_clock
        self.ticker = Ticker(client.pool, self._env, client.start, client.cancel)

    async def create(self, schedule: Schedule, *, replace: bool = False, is_paused: bool = False) -> KeptSchedule:
        """Keep a schedule; its first tick is the first one after now. The same schedule again changes nothing.

        replace: take the place of another schedule with this id; it stays paused if it was.
        Raises ScheduleInvalid, InputInvalid, WorkflowNotFound, ScheduleExists.
        """
        schedule = check_schedule(schedule)
        with AsUnavailable():
            now = await self.clock()
            next_tick = cadence_of(schedule).after(now)
            kept = KeptSchedule(
                schedule=schedule,
                is_paused=is_paused,
                pause_by=schedule.by if is_paused else None,
                pause_note="",
                next_tick=next_tick,
                created_at=now,
                updated_at=now,
            )
            async with self._client.pool.acquire() as conn, conn.transaction():
                await self._check_start(conn, schedule, next_tick or now)
                if await store.insert_schedule(conn, self._env, kept):
                    return kept
                before = await self._find(conn, schedule.id, is_locked=True)
                if _asks(before.schedule) == _asks(schedule):
                    return before
                if not replace:
                    raise ScheduleExists(f"there is a schedule {schedule.id!r} that asks for something else")
                await store.replace_schedule(conn, self._env, schedule, next_tick, now)
                return await self._find(conn, schedule.id)

    async def _check_start(self, conn: Connection, schedule: Schedule, at: datetime) -> None:
        """Refuse what no tick could start: the workflow, its version, its input."""
        resolved = await self._client.catalog.resolve(conn, schedule.workflow, schedule.version)
        command = start_command(self._env, 1, submission_of(schedule, planned_tick(schedule, at)), resolved)
        self._client.catalog.check_input(resolved.plan, command.input)
        check_starter(resolved.plan.ir, command.by)

    async def get(self, id: str) -> KeptSchedule:
        """Raises ScheduleNotFound."""
        with AsUnavailable():
            async with self._client.pool.acquire() as conn:
                return await self._find(conn, id)

    async def list(self, *, limit: int = 100, after: str = "") -> Sequence[KeptSchedule]:
        """Return schedules by id. after: the last id of the page before."""
        with AsUnavailable():
            async with self._client.pool.acquire() as conn:
                return await store.list_schedules(conn, self._env, limit=limit, after=after)

    async def ticks(self, id: str, *, limit: int = 20) -> Sequence[Tick]:
        """Return what became of the ticks of a schedule, the latest first. Raises ScheduleNotFound."""
        with AsUnavailable():
            now = await self.clock()
            async with self._client.pool.acquire() as conn:
                await self._find(conn, id)
                await rows.close_ticks(conn, self._env, [id], now)
                return await rows.list_ticks(conn, self._env, id, min(limit, TICKS_MAX))

    async def pause(self, id: str, *, by: str | None = None, note: str = "") -> KeptSchedule:
        """Start nothing by the clock any more; what waits is skipped. Raises ScheduleNotFound."""
        with AsUnavailable():
            now = await self.clock()
            async with self._client.pool.acquire() as conn, conn.transaction():
                kept = await self._find(conn, id, is_locked=True)
                if kept.is_paused:
                    return kept
                await store.pause_schedule(conn, self._env, id, by, note, now)
                await rows.drop_waiting(conn, self._env, id, "the schedule was paused", now)
                return await self._find(conn, id)

    async def resume(self, id: str) -> KeptSchedule:
        """Go on with the first tick after now; ``backfill`` makes up for the pause. Raises ScheduleNotFound."""
        with AsUnavailable():
            now = await self.clock()
            async with self._client.pool.acquire() as conn, conn.transaction():
                kept = await self._find(conn, id, is_locked=True)
                if not kept.is_paused:
                    return kept
                await store.resume_schedule(conn, self._env, id, cadence_of(kept.schedule).after(now), now)
                return await self._find(conn, id)

    async def delete(self, id: str) -> None:
        """Delete a schedule with what is known of its ticks; its runs stay. Raises ScheduleNotFound."""
        with AsUnavailable():
            async with self._client.pool.acquire() as conn:
                if not await store.delete_schedule(conn, self._env, id):
                    raise _not_found(id)

    async def trigger(self, id: str, *, overlap: str = Overlap.ALLOW, by: str | None = None) -> Tick:
        """Start a run now, of a paused schedule too; return its tick, with ``run_id`` once it was started.

        overlap: what to do while an earlier run goes on; the schedule's own rule does not count here.
        Raises ScheduleNotFound, ScheduleInvalid, InputInvalid, WorkflowNotFound.
        """
        rule = read_overlap(overlap)
        with AsUnavailable():
            now = await self.clock()
            async with self._client.pool.acquire() as conn:
                schedule = (await self._find(conn, id)).schedule
                await self._check_start(conn, schedule, now)
                tick = await self._insert_trigger(conn, id, now, rule, by)
            if rule is Overlap.ALLOW:
                await self.ticker.start([(schedule, tick)], now)
            else:
                await self.ticker.settle(tick.due_at, [id])
            async with self._client.pool.acquire() as conn:
                return await rows.get_tick(conn, self._env, id, tick.at) or tick

    async def _insert_trigger(self, conn: Connection, id: str, now: datetime, overlap: Overlap, by: str | None) -> Tick:
        """A tick is at whole seconds only by the clock: the two never meet. With ``allow`` nothing is to be decided."""
        at = now.replace(microsecond=now.microsecond // 1000 * 1000)
        while True:
            if at.microsecond == 0:
                at += _MS
            tick = Tick(schedule=id, at=at, origin=Origin.TRIGGER, overlap=overlap, due_at=at, by=by)
            if overlap is Overlap.ALLOW:
                tick = msgspec.structs.replace(tick, state=TickState.STARTING, run_id=run_of(self._env, tick))
            if await rows.insert_ticks(conn, self._env, [tick], now):
                return tick
            at += _MS

    async def backfill(
        self,
        id: str,
        since: datetime,
        until: datetime | None = None,
        *,
        overlap: str = Overlap.BUFFER_ALL,
        by: str | None = None,
    ) -> Backfill:
        """Start a run for each tick from ``since`` to ``until`` that has had none; both included. until: None for now.

        A supervisor starts them, the earliest first. They mind only each other: a backfill holds up nothing that comes
        by the clock. Idempotent. Raises ScheduleNotFound, ScheduleInvalid.
        """
        rule = read_overlap(overlap)
        with AsUnavailable():
            now = await self.clock()
            begin, end = _utc("since", since), _utc("until", until or now)
            if end < begin:
                raise _invalid(f"until: {end.isoformat()} is before since, {begin.isoformat()}")
            if end > now:
                raise _invalid(f"until: {end.isoformat()} has not come yet; what comes is started by itself")
            async with self._client.pool.acquire() as conn, conn.transaction():
                schedule = (await self._find(conn, id, is_locked=True)).schedule
                times = cadence_of(schedule).first(BACKFILL_MAX + 1, begin, end)
                if len(times) > BACKFILL_MAX:
                    raise _invalid(
                        f"until: it is too far; the first {BACKFILL_MAX:,} ticks end before {times[-1].isoformat()}"
                    )
                filled = await rows.fill_ticks(conn, self._env, id, times, rule, by, now)
            return Backfill(ticks=times, filled=filled)

    async def next(self, id: str, count: int = 5) -> Sequence[datetime]:
        """Return the next ticks of a schedule, as if it were not paused. Raises ScheduleNotFound."""
        schedule = (await self.get(id)).schedule
        with AsUnavailable():
            now = await self.clock()
        return cadence_of(schedule).first(min(count, NEXT_MAX), now + _MS, now + _FAR)

    async def _find(self, conn: Connection, id: str, *, is_locked: bool = False) -> KeptSchedule:
        found = await store.get_schedule(conn, self._env, id, is_locked=is_locked)
        if found is None:
            raise _not_found(id)
        return found

    async def _redis_clock(self) -> datetime:
        return datetime.fromtimestamp(await read_clock(self._redis), UTC)


def _asks(schedule: Schedule) -> Schedule:
    """What two schedules must agree on to be the same: all but who has made them."""
    return msgspec.structs.replace(schedule, by=None)


def _not_found(id: str) -> ScheduleNotFound:
    return ScheduleNotFound(f"there is no schedule {id!r:.140}")


def _invalid(problem: str) -> ScheduleInvalid:
    return ScheduleInvalid(problem, [problem])


def _utc(name: str, at: datetime) -> datetime:
    try:
        found = to_utc(name, at)
    except InputInvalid as error:
        raise _invalid(error.message) from error
    assert found is not None
    return found

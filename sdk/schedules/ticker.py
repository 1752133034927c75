"""Ticker: plans the ticks that have come, decides on them, and starts their runs. Any number of them may work at once.

1. plan: a schedule whose next tick has come is locked, its ticks get rows, its next tick moves. One transaction.
2. settle: a schedule with ticks that are due is locked, and each of them goes on to ``starting``, is skipped, or
   waits on. One transaction: of two tickers the second one sees what the first one has decided.
3. start: the run is submitted, then the tick is ``started``. Whoever dies in between leaves it ``starting``; another
   ticker submits it again, and as the run's id is made of schedule and tick, that is the same run.

What is locked by another ticker is left to it. ``now`` is always the time of Redis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import anyio
import msgspec
import structlog
from anyio import to_thread

from ..errors import CouranteError, IdempotencyConflict, InputInvalid, WorkflowNotFound
from ..fault_points import reach
from ..sealing.sealing import seal_text
from ..stores.connection import Pool
from ..submissions.submissions import Submission
from ..unavailable import AsUnavailable
from . import schedule_rows as store
from . import tick_rows as rows
from .overlap import Decision, decide
from .plan import Plan, make_plan
from .schedule import KeptSchedule, Schedule, cadence_of
from .tick import TRIGGER, Tick, TickState, planned_tick, run_of, submission_of
from .tick_rows import Move

SCHEDULES_MAX = 100
"""Schedules that are locked together."""
TICKS_MAX = 100
"""Ticks of one schedule that are looked at together."""
UNUSABLE_FOR = timedelta(minutes=1)
"""After so long a schedule that could not be planned is tried again."""
FORSAKEN = timedelta(seconds=5)
"""A start takes that long only when whoever began it is gone, or Postgres was."""
REASON_CHARS_MAX = 1_000
UNUSABLE = (ValueError, KeyError, OSError)
"""What comes of a time zone that this machine does not know."""
REFUSALS = (WorkflowNotFound, InputInvalid, IdempotencyConflict)
Start = Callable[[Submission], Awaitable[str]]
log = structlog.get_logger()


class Cancel(Protocol):
    """``Client.cancel``. Idempotent enough: a run that has ended stays as it is."""

    def __call__(self, run_id: str, reason: str = "", *, by: str | None = None) -> Awaitable[object]: ...


class Ticker:
    """Works on the schedules of one environment."""

    def __init__(self, pool: Pool, env: str, start: Start, cancel: Cancel) -> None:
        self._pool = pool
        self._env = env
        self._start = start
        self._cancel = cancel
        self._unusable: dict[str, datetime] = {}  # until when they are left out, so that others have their turn

    async def turn(self, now: datetime) -> int:
        """Do what is to be done now; return how much that was. Where it was something there may be more."""
        return await self.plan(now) + await self.settle(now) + await self.resume(now)

    async def plan(self, now: datetime) -> int:
        """Give the ticks that have come their rows; return of how many schedules."""
        async with self._pool.acquire() as conn, conn.transaction():
            self._unusable = {id: until for id, until in self._unusable.items() if now < until}
            due = await store.lock_due_schedules(conn, self._env, now, SCHEDULES_MAX, without=list(self._unusable))
            ticks: list[Tick] = []
            moves: list[tuple[str, datetime | None]] = []
            for kept in due:
                plan = await self._plan_one(kept, now)
                if plan is not None:
                    ticks += _planned(kept.schedule, plan)
                    moves.append((kept.schedule.id, plan.next_tick))
            if ticks:
                await rows.insert_ticks(conn, self._env, ticks, now)
            if moves:
                await store.move_next(conn, self._env, moves)
            return len(moves)

    async def _plan_one(self, kept: KeptSchedule, now: datetime) -> Plan | None:
        schedule = kept.schedule
        assert kept.next_tick is not None
        try:
            cadence = cadence_of(schedule)
            # looking for the times of a busy schedule after days of absence takes a while
            plan = await to_thread.run_sync(make_plan, schedule, cadence, kept.next_tick, now)
        except UNUSABLE as error:
            log.error("schedule_unusable", schedule=schedule.id, error=repr(error))
            self._unusable[schedule.id] = now + UNUSABLE_FOR
            return None
        if plan.skip:
            log.warning("ticks_missed", schedule=schedule.id, first=kept.next_tick.isoformat(), made_up=len(plan.start))
        return plan

    async def settle(self, now: datetime, schedules: Sequence[str] | None = None) -> int:
        """Decide on the ticks that are due, and start what is to be started; return how many were decided on."""
        if schedules is not None:
            return await self._settle(schedules, now)
        count, after = 0, ""
        while True:
            async with self._pool.acquire() as conn:
                page = await rows.waiting_schedules(conn, self._env, now, after=after, limit=SCHEDULES_MAX)
            if page:
                count += await self._settle(page, now)
            if len(page) < SCHEDULES_MAX:
                return count
            after = page[-1]

    async def _settle(self, ids: Sequence[str], now: datetime) -> int:
        async with self._pool.acquire() as conn, conn.transaction():
            schedules = await store.lock_schedules(conn, self._env, ids)
            mine = list(schedules)
            await rows.close_ticks(conn, self._env, mine, now)
            running = _by_lane(await rows.running_ticks(conn, self._env, mine, TICKS_MAX))
            due = _by_lane(await rows.due_ticks(conn, self._env, mine, now, TICKS_MAX))
            decisions = [decide(running[lane], ticks) for lane, ticks in due.items()]
            moves = [move for decision in decisions for move in self._moves(decision)]
            moved = await rows.move_ticks(conn, self._env, moves, now, since=TickState.WAITING)
        chosen = [tick for decision in decisions for tick in decision.start if (tick.schedule, tick.at) in moved]
        begun = [(schedules[tick.schedule], tick) for tick in chosen]
        await self.start(begun, now)
        await self._end([tick for decision in decisions for tick in decision.cancel], now)
        return len(moved)

    def _moves(self, decision: Decision) -> list[Move]:
        for tick, reason in decision.skip:
            log.info("tick_skipped", schedule=tick.schedule, tick=tick.at.isoformat(), reason=reason)
        return [
            *(Move(tick, TickState.STARTING, run_of(self._env, tick)) for tick in decision.start),
            *(Move(tick, TickState.SKIPPED, reason=reason) for tick, reason in decision.skip),
        ]

    async def resume(self, now: datetime) -> int:
        """Finish starts that somebody has begun and not finished; return how many."""
        async with self._pool.acquire() as conn:
            ticks = await rows.take_starting(conn, self._env, now - FORSAKEN, now, limit=TICKS_MAX)
            if not ticks:
                return 0
            schedules = await store.get_schedules(conn, self._env, [tick.schedule for tick in ticks])
        await self.start([(schedules[tick.schedule], tick) for tick in ticks if tick.schedule in schedules], now)
        return len(ticks)

    async def start(self, begun: Sequence[tuple[Schedule, Tick]], now: datetime) -> None:
        """Submit the runs of ticks that are ``starting``, all at once, and note what became of them. Idempotent."""
        if not begun:
            return
        moves: list[Move] = []

        async def submit(schedule: Schedule, tick: Tick) -> None:
            if (move := await self._submit(schedule, tick)) is not None:
                moves.append(move)

        reach("before_tick")
        async with anyio.create_task_group() as group:
            for schedule, tick in begun:
                group.start_soon(submit, schedule, tick)
        reach("after_tick")
        async with self._pool.acquire() as conn:
            await rows.move_ticks(conn, self._env, moves, now, since=TickState.STARTING)

    async def _submit(self, schedule: Schedule, tick: Tick) -> Move | None:
        """None where nothing is known: the tick stays ``starting``, and is submitted again."""
        run_id = run_of(self._env, tick)
        said = log.bind(schedule=tick.schedule, tick=tick.at.isoformat())
        try:
            try:
                await self._start(submission_of(schedule, tick))
            except IdempotencyConflict:
                if not await self._was_started(run_id):
                    raise
        except REFUSALS as error:
            said.error("tick_failed", code=error.code, error=error.message)
            return Move(tick, TickState.FAILED, reason=seal_text(f"{error.code}: {error.message}"[:REASON_CHARS_MAX]))
        except (CouranteError, *UNUSABLE) as error:
            said.warning("tick_postponed", error=str(error))
            return None
        said.info("tick_started", run_id=run_id)
        return Move(tick, TickState.STARTED, run_id)

    async def _was_started(self, run_id: str) -> bool:
        """Tell whether a schedule has started this run: it asked for something else then, and was changed since."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                return await rows.trigger_of(conn, run_id) == TRIGGER

    async def _end(self, ticks: Sequence[Tick], now: datetime) -> None:
        """Tell the runs of ticks to end, each once."""
        for tick in ticks:
            if tick.run_id is None or tick.is_cancelled or tick.state is not TickState.STARTED:
                continue
            try:
                await self._cancel(tick.run_id, "the next tick has come", by=f"schedule:{tick.schedule}")
            except CouranteError as error:
                log.warning("tick_not_cancelled", schedule=tick.schedule, run_id=tick.run_id, error=error.message)
                continue
            async with self._pool.acquire() as conn:
                await rows.mark_cancelled(conn, self._env, tick, now)


def _planned(schedule: Schedule, plan: Plan) -> list[Tick]:
    ticks = [planned_tick(schedule, at) for at in plan.start]
    late = f"late: later than {schedule.grace_ms / 1000:g} s"
    return ticks + [
        msgspec.structs.replace(planned_tick(schedule, at), state=TickState.SKIPPED, reason=late) for at in plan.skip
    ]


def _by_lane(ticks: Sequence[Tick]) -> defaultdict[tuple[str, bool], list[Tick]]:
    found: defaultdict[tuple[str, bool], list[Tick]] = defaultdict(list)
    for tick in ticks:
        found[tick.schedule, tick.lane].append(tick)
    return found

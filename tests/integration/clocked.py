"""A stage whose schedules go by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from courante.sdk.schedules.schedule import KeptSchedule, Schedule
from courante.sdk.schedules.ticker import Start, Ticker
from courante.supervisor.schedules import Schedules
from integration.stage import Stage

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOOP = {"id": "a", "type": "noop"}


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    async def __call__(self) -> datetime:
        return self.now


class Clocked:
    """A stage with a clock that a test moves, and a workflow to start."""

    def __init__(self, stage: Stage, clock: Clock, workflow: str) -> None:
        self.stage = stage
        self.clock = clock
        self.workflow = workflow
        self.face = stage.client.schedules
        self.loop = Schedules(stage.client)

    async def create(self, id: str = "s", **fields: Any) -> KeptSchedule:
        if "every_ms" not in fields:
            fields.setdefault("cron", "* * * * *")
        return await self.face.create(Schedule(id=id, workflow=fields.pop("workflow", self.workflow), **fields))

    def ticker(self, start: Start) -> Ticker:
        """A ticker that starts runs in its own way."""
        return Ticker(self.stage.client.pool, self.stage.place.env, start, self.stage.client.cancel)

    async def pass_by(self, span: timedelta) -> None:
        """Let time pass and look once, as a supervisor does that has just come."""
        self.clock.now += span
        await self.look()

    async def look(self) -> None:
        """Look until there is nothing more to do."""
        while await self.loop.look() == 0.0:
            pass

    async def told(self, id: str = "s") -> list[tuple[str, str]]:
        """What became of the ticks, in order: minutes and seconds since noon, and the state."""
        ticks = reversed(await self.face.ticks(id, limit=1000))
        return [(str(tick.at - NOON)[2:], str(tick.state)) for tick in ticks]

    async def runs(self) -> list[dict[str, Any]]:
        async with self.stage.client.pool.acquire() as conn:
            sql = "SELECT * FROM commands WHERE env = $1 AND type = 'start' ORDER BY idempotency_key"
            return [dict(row) for row in await conn.fetch(sql, self.stage.place.env)]

    async def end(self, run_id: str) -> None:
        """Let the log say that a run has ended; how it is recorded is the recorder's business."""
        async with self.stage.client.pool.acquire() as conn:
            await conn.execute(
                """INSERT INTO runs (run_id, env, partition, workflow, version, ir_hash, status, trigger, tags,
                                     is_halted, created_at, finished_at, updated_at)
                   SELECT run_id, env, partition, workflow, version, ir_hash, 'COMPLETED', trigger, tags,
                          false, created_at, now(), now() FROM commands WHERE run_id = $1 AND number = 1""",
                run_id,
            )


async def clocked(stage: Stage) -> Clocked:
    """At noon, with a workflow that does nothing."""
    clock = Clock()
    stage.client.schedules.clock = clock
    return Clocked(stage, clock, await stage.register(NOOP))

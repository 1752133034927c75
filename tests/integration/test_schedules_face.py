"""What a client offers for schedules: what is asked for twice changes nothing, what is wrong is refused at the door."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest

from courante.sdk.client.schedules import BACKFILL_MAX, Schedules
from courante.sdk.errors import (
    InputInvalid,
    ScheduleExists,
    ScheduleInvalid,
    ScheduleNotFound,
    WorkflowNotFound,
)
from courante.sdk.schedules.schedule import CatchUp, Overlap, Schedule
from integration.stage import Stage

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOOP = {"id": "a", "type": "noop"}


@pytest.fixture
async def face(stage: Stage) -> Schedules:
    """Schedules at noon, with a workflow ``w`` that takes an object."""
    await stage.register(NOOP, input={"type": "object", "properties": {"n": {"type": "integer"}}})
    face = stage.client.schedules

    async def clock() -> datetime:
        return NOON

    face.clock = clock
    return face


def schedule(**fields: Any) -> Schedule:
    if "every_ms" not in fields:
        fields.setdefault("cron", "0 * * * *")
    wanted: dict[str, Any] = {"id": "s", "workflow": "w", "input": dict[str, int]()} | fields
    return Schedule(**wanted)


async def test_what_is_kept_reads_back(face: Schedules) -> None:
    """Every field comes back as it was given, in order."""
    asked = schedule(
        version=1,
        input={"n": 7, "text": "Zürich"},
        timezone="Europe/Zurich",
        jitter_ms=5,
        catch_up=CatchUp.ALL,
        catch_up_max=7,
        grace_ms=2_000,
        overlap=Overlap.BUFFER_ONE,
        tags=("a", "b"),
        starts_at=NOON,
        ends_at=NOON + 9 * HOUR,
        by="ada",
        note="for tea",
    )
    kept = await face.create(asked)
    assert kept == await face.get("s")
    assert kept.schedule == asked
    assert (kept.next_tick, kept.created_at, kept.is_paused) == (NOON + HOUR, NOON, False)
    every = await face.create(schedule(id="t", cron=None, every_ms=7_000, anchor=NOON - HOUR), is_paused=True)
    assert (await face.get("t"), every.is_paused, every.next_tick) == (every, True, NOON + timedelta(seconds=5))
    assert [one.schedule.id for one in await face.list()] == ["s", "t"]
    assert [one.schedule.id for one in await face.list(after="s")] == ["t"]
    assert await face.next("s", 3) == [NOON + n * HOUR for n in (1, 2, 3)]


async def test_the_same_again_changes_nothing(face: Schedules) -> None:
    """Creating is idempotent; something else under the same id needs to be told that it takes the place."""
    first = await face.create(schedule(by="ada"))
    assert await face.create(schedule(by="bob")) == first
    with pytest.raises(ScheduleExists, match="'s' that asks for something else"):
        await face.create(schedule(cron="30 * * * *"))
    assert await face.get("s") == first
    await face.pause("s")
    changed = await face.create(schedule(cron="30 * * * *"), replace=True)
    assert (changed.schedule.cron, changed.is_paused) == ("30 * * * *", True)
    assert changed.next_tick == NOON + HOUR / 2


async def test_many_may_create_at_once(face: Schedules) -> None:
    """Of several that ask for the same at the same time all get the same."""
    found: list[Any] = []

    async def create() -> None:
        found.append(await face.create(schedule()))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(create)
    assert found == [found[0]] * 10


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"workflow": "x"}, WorkflowNotFound, "no workflow x"),
        ({"version": 2}, WorkflowNotFound, "version 2"),
        ({"input": {"n": "many"}}, InputInvalid, "input.n"),
        ({"input": {"n": "{{ schedule.tick }}"}}, InputInvalid, "input.n"),
        ({"cron": "* * *"}, ScheduleInvalid, "cron: "),
        ({"overlap": "replace"}, ScheduleInvalid, "overlap: "),
    ],
)
async def test_what_no_tick_could_start_is_refused(
    face: Schedules, fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    """A schedule that would fail at every tick is not kept."""
    with pytest.raises(error, match=words):
        await face.create(schedule(**fields))
    assert await face.list() == []


async def test_an_unknown_schedule_is_not_found(face: Schedules) -> None:
    """Whatever is asked of it."""
    for ask in (face.get, face.ticks, face.pause, face.resume, face.delete, face.trigger, face.next):
        with pytest.raises(ScheduleNotFound, match="no schedule 'x'"):
            await ask("x")
    with pytest.raises(ScheduleNotFound):
        await face.backfill("x", NOON - HOUR, NOON)


async def test_a_deleted_schedule_leaves_its_runs(face: Schedules, stage: Stage) -> None:
    """Its ticks go with it; one made anew begins with the next tick, and ticks that had a run have had it."""
    await face.create(schedule())
    await face.backfill("s", NOON, NOON, overlap="allow")
    await face.ticker.turn(NOON)
    await face.delete("s")
    assert await stage.commands() == 1
    again = await face.create(schedule(input={"n": 5}))
    assert (again.next_tick, await face.ticks("s")) == (NOON + HOUR, [])
    await face.backfill("s", NOON, NOON)
    await face.ticker.turn(NOON)
    (tick,) = await face.ticks("s")
    assert tick.state == "started"
    assert await stage.commands() == 1


async def test_a_backfill_is_bounded(face: Schedules) -> None:
    """It takes what has come, in order, and not too much of it."""
    await face.create(schedule(cron=None, every_ms=1_000))
    with pytest.raises(ScheduleInvalid, match=r"^until: 2026-06-01T13:00:00\+00:00 has not come yet"):
        await face.backfill("s", NOON, NOON + HOUR)
    with pytest.raises(ScheduleInvalid, match=r"^until: 2026-06-01T11:00:00\+00:00 is before since"):
        await face.backfill("s", NOON, NOON - HOUR)
    with pytest.raises(ScheduleInvalid, match=r"^until: it is too far; the first 10,000 ticks end before"):
        await face.backfill("s", NOON - 9 * HOUR, NOON)
    with pytest.raises(ScheduleInvalid, match=r"^overlap: wanted one of allow"):
        await face.backfill("s", NOON - HOUR, NOON, overlap="maybe")
    full = await face.backfill("s", NOON - timedelta(seconds=BACKFILL_MAX - 1), NOON)
    assert len(full.filled) == BACKFILL_MAX


async def test_a_backfill_and_the_clock_meet_in_one_tick(face: Schedules, stage: Stage) -> None:
    """A tick that was filled in before a supervisor came to it is not started once more."""
    await face.create(schedule(cron=None, every_ms=1_000, starts_at=NOON))
    now = NOON + timedelta(seconds=5)

    async def clock() -> datetime:
        return now

    face.clock = clock
    await face.backfill("s", NOON, now, overlap="allow")
    while await face.ticker.turn(now):
        pass
    assert len(await face.ticks("s")) == 6
    assert await stage.commands() == 6


async def test_triggers_at_one_moment_are_apart(face: Schedules, stage: Stage) -> None:
    """Twenty triggers in the same millisecond are twenty runs, and none of them takes the place of a tick."""
    await face.create(schedule())
    ticks: list[Any] = []

    async def trigger() -> None:
        ticks.append(await face.trigger("s"))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(trigger)
    assert len({tick.run_id for tick in ticks}) == 20
    assert {tick.state for tick in ticks} == {"started"}
    assert all(tick.at.microsecond for tick in ticks)
    assert await stage.commands() == 20


async def test_a_schedule_of_a_strange_zone_holds_up_no_other(face: Schedules, stage: Stage) -> None:
    """A time zone that this machine does not know is an error of one schedule; it goes on where it is known."""
    await face.create(schedule(id="a", timezone="Europe/Zurich"))
    await face.create(schedule(id="b"))
    async with stage.client.pool.acquire() as conn:
        sql = "UPDATE schedules SET timezone = 'Mars/Base' WHERE env = $1 AND id = 'a'"
        await conn.execute(sql, stage.place.env)
    assert await face.ticker.turn(NOON + HOUR) == 2
    assert [(await face.ticks(id) != []) for id in ("a", "b")] == [False, True]
    assert (await face.get("a")).next_tick == NOON + HOUR


def test_a_schedule_is_plain_data() -> None:
    """It goes through JSON and comes back."""
    asked = schedule(starts_at=NOON, tags=("a",))
    assert msgspec.json.decode(msgspec.json.encode(asked), type=Schedule) == asked

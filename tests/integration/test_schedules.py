"""The clock starts each tick of a schedule once: with many supervisors, after their absence, and after crashes."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import anyio
import pytest

from courante.sdk.client.client import Client
from courante.sdk.errors import ServiceUnavailable
from courante.sdk.schedules.schedule import CatchUp, Overlap, Schedule
from courante.sdk.schedules.tick import Tick, run_of
from courante.sdk.schedules.ticker import FORSAKEN, Ticker
from courante.sdk.submissions.submissions import Submission
from courante.supervisor.schedules import Schedules
from integration.clocked import MINUTE, NOON, NOOP, Clocked, clocked
from integration.stage import Place, Stage, open_stage, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def floor(stage: Stage) -> Clocked:
    return await clocked(stage)


async def test_a_run_is_started_at_each_tick(floor: Clocked) -> None:
    """Each minute brings a run, whose id, key, tags and trigger say where it comes from."""
    kept = await floor.create(input={"day": 7}, tags=("nightly",), by="ada")
    assert kept.next_tick == NOON + MINUTE
    await floor.look()
    assert await floor.told() == []
    await floor.pass_by(MINUTE)
    await floor.pass_by(timedelta(seconds=59))
    assert await floor.told() == [("01:00", "started")]
    (run,) = await floor.runs()
    (tick,) = await floor.face.ticks("s")
    assert run["run_id"] == tick.run_id == run_of(floor.stage.place.env, tick)
    assert run["idempotency_key"] == "schedule:s:2026-06-01T12:01:00Z"
    assert (run["trigger"], run["tags"], run["by"]) == ("schedule", ["nightly", "schedule:s"], "ada")
    assert run["body"] == b'{"day":7}'


async def test_three_supervisors_start_each_tick_once(floor: Clocked) -> None:
    """However many look at the clock at the same time, a tick has one row and one run."""
    for number in range(10):
        await floor.create(f"s{number}", cron=None, every_ms=1_000, overlap=Overlap.ALLOW)
    others = [Client.open(**vars(floor.stage.place)) for _ in range(2)]
    async with others[0], others[1]:
        for client in others:
            client.schedules.clock = floor.clock
        loops = [floor.loop, *(Schedules(client) for client in others)]
        for _ in range(20):
            floor.clock.now += timedelta(seconds=1)
            async with anyio.create_task_group() as group:
                for loop in [*loops, *loops]:
                    group.start_soon(loop.look)
        await floor.look()
    seconds = [NOON + timedelta(seconds=n) for n in range(1, 21)]
    for number in range(10):
        ticks = await floor.face.ticks(f"s{number}", limit=1000)
        assert [tick.at for tick in reversed(ticks)] == seconds
        assert {str(tick.state) for tick in ticks} == {"started"}
    runs = await floor.runs()
    assert len(runs) == 200
    assert max(Counter(run["idempotency_key"] for run in runs).values()) == 1


async def test_what_another_supervisor_works_on_is_left_to_it(floor: Clocked) -> None:
    """A schedule that somebody has locked is passed by at once, and nothing of it is planned or decided."""
    for id in ("mine", "theirs"):
        await floor.create(id, overlap=Overlap.BUFFER_ALL)
    for expected in ([], [("01:00", "started")]):
        floor.clock.now += MINUTE
        async with floor.stage.client.pool.acquire() as conn, conn.transaction():
            sql = "SELECT FROM schedules WHERE env = $1 AND id = 'theirs' FOR NO KEY UPDATE"
            await conn.execute(sql, floor.stage.place.env)
            with anyio.fail_after(10):
                await floor.look()
            assert await floor.told("theirs") == expected
        assert len(await floor.told("mine")) == len(expected) + 1
        await floor.look()
    async with floor.stage.client.pool.acquire() as conn, conn.transaction():
        await conn.execute(sql, floor.stage.place.env)
        await floor.end(str((await floor.face.ticks("theirs"))[-1].run_id))
        with anyio.fail_after(10):
            await floor.look()
        assert await floor.told("theirs") == [("01:00", "ended"), ("02:00", "waiting")]
    await floor.look()
    assert await floor.told("theirs") == [("01:00", "ended"), ("02:00", "started")]


async def test_supervisors_with_their_own_clock_run_schedules(stage: Stage) -> None:
    """Three whole supervisors on the time of Redis: every second has one run, and all runs end."""
    stage.worker()
    for _ in range(3):
        stage.supervisor()
    workflow = await stage.register(NOOP)
    schedule = Schedule(id="s", workflow=workflow, every_ms=1_000, input="{{ schedule.tick }}", overlap=Overlap.ALLOW)
    await stage.client.schedules.create(schedule)

    async def ended() -> list[Tick]:
        async with stage.client.pool.acquire() as conn:
            count = await conn.fetchval(
                "SELECT count(*) FROM runs WHERE env = $1 AND status = 'COMPLETED'", stage.place.env
            )
        return list(await stage.client.schedules.ticks("s")) if count >= 3 else []

    ticks = await until(ended, bool)
    await stage.client.schedules.pause("s")
    times = [tick.at for tick in ticks]
    assert times == [times[0] - timedelta(seconds=n) for n in range(len(times))]

    async def counts() -> tuple[int, int]:
        return await stage.commands(), len(await stage.client.schedules.ticks("s", limit=1000))

    await until(counts, lambda found: found[0] == found[1])  # one may have been begun before the pause


@pytest.mark.parametrize(
    ("rule", "more", "expected"),
    [
        (CatchUp.SKIP, {}, {"05:00": "started"}),
        (CatchUp.SKIP, {"grace_ms": 150_000}, {"03:00": "started", "04:00": "started", "05:00": "started"}),
        (CatchUp.ONE, {}, {"05:00": "started"}),
        (CatchUp.ONE, {"cron": "0-4 * * * *"}, {"04:00": "started"}),
        (CatchUp.SKIP, {"cron": "0-4 * * * *"}, {}),
        (CatchUp.ALL, {}, {f"0{n}:00": "started" for n in range(1, 6)}),
        (CatchUp.ALL, {"catch_up_max": 2}, {"04:00": "started", "05:00": "started"}),
    ],
)
async def test_what_was_missed_is_made_up_for_by_the_rule(
    floor: Clocked, rule: CatchUp, more: dict[str, Any], expected: dict[str, str]
) -> None:
    """After five minutes without a supervisor the rule says which ticks are started; the others are seen as skipped."""
    await floor.create(catch_up=rule, overlap=Overlap.ALLOW, **more)
    await floor.pass_by(5 * MINUTE + timedelta(seconds=20))
    told = dict(await floor.told())
    assert {at: state for at, state in told.items() if state != "skipped"} == expected
    assert len(told) == (4 if "cron" in more else 5)
    assert len(await floor.runs()) == len(expected)


async def test_a_pause_holds_and_is_not_made_up_for(floor: Clocked) -> None:
    """Nothing is started while a schedule is paused, nothing of that time afterwards, and a backfill does it all."""
    await floor.create(overlap=Overlap.ALLOW, catch_up=CatchUp.ALL)
    paused = await floor.face.pause("s", by="bob", note="holidays")
    assert (paused.is_paused, paused.pause_by, paused.pause_note) == (True, "bob", "holidays")
    await floor.pass_by(5 * MINUTE)
    assert await floor.told() == []
    resumed = await floor.face.resume("s")
    assert (resumed.is_paused, resumed.next_tick) == (False, NOON + 6 * MINUTE)
    await floor.pass_by(MINUTE)
    assert await floor.told() == [("06:00", "started")]
    done = await floor.face.backfill("s", NOON, floor.clock.now, overlap="allow", by="eve")
    assert done.ticks == [NOON + n * MINUTE for n in range(7)]
    assert done.filled == [NOON + n * MINUTE for n in range(6)]
    await floor.look()
    assert await floor.told() == [(f"0{n}:00", "started") for n in range(7)]
    again = await floor.face.backfill("s", NOON, floor.clock.now)
    assert again.filled == []
    assert len(await floor.runs()) == 7


async def test_a_pause_drops_what_waits(floor: Clocked) -> None:
    """A tick that waits for its jitter or for an earlier run is not started after the pause."""
    await floor.create(overlap=Overlap.BUFFER_ONE)
    await floor.pass_by(MINUTE)
    await floor.pass_by(MINUTE)
    assert await floor.told() == [("01:00", "started"), ("02:00", "waiting")]
    await floor.face.pause("s")
    assert await floor.told() == [("01:00", "started"), ("02:00", "skipped")]


async def test_a_trigger_starts_a_run_at_once(floor: Clocked) -> None:
    """Also of a paused schedule, also while a run goes on, and as often as one asks."""
    await floor.create(input={"at": "{{ schedule.tick }}", "why": "{{ schedule.origin }}"})
    await floor.face.pause("s")
    first = await floor.face.trigger("s", by="ada")
    second = await floor.face.trigger("s")
    assert (first.state, second.state) == ("started", "started")
    assert first.run_id != second.run_id
    run = (await floor.runs())[0]
    assert run["body"] == b'{"at":"2026-06-01T12:00:00.001Z","why":"trigger"}'
    assert (run["by"], run["run_id"]) == ("ada", first.run_id)
    third = await floor.face.trigger("s", overlap="skip")
    assert third.state == "skipped"


async def test_a_crash_between_row_and_start_starts_it_once(floor: Clocked) -> None:
    """A supervisor that dies before it has submitted, or before it has noted that, leaves work for the next one."""
    await floor.create(overlap=Overlap.ALLOW)

    async def dies_before(submission: Submission) -> str:
        raise ServiceUnavailable(f"gone before {submission.key}")

    async def dies_after(submission: Submission) -> str:
        await floor.stage.client.start(submission)
        raise ServiceUnavailable(f"gone after {submission.key}")

    for start, count in ((dies_before, 0), (dies_after, 2)):
        dying = floor.ticker(start)
        floor.clock.now += MINUTE
        await dying.turn(floor.clock.now)
        assert (await floor.told())[-1][1] == "starting"
        await floor.look()
        assert len(await floor.runs()) == count
        await floor.pass_by(FORSAKEN)
    assert await floor.told() == [("01:00", "started"), ("02:00", "started")]
    assert len(await floor.runs()) == 2


async def test_a_changed_schedule_does_not_start_a_tick_again(floor: Clocked) -> None:
    """A run was accepted, nobody noted it, and the schedule asks for something else now: the tick has had its run."""
    await floor.create(overlap=Overlap.ALLOW, input=1)

    async def dies_after(submission: Submission) -> str:
        await floor.stage.client.start(submission)
        raise ServiceUnavailable("gone")

    floor.clock.now += MINUTE
    await Ticker(floor.stage.client.pool, floor.stage.place.env, dies_after, floor.stage.client.cancel).turn(
        floor.clock.now
    )
    changed = Schedule(id="s", workflow=floor.workflow, cron="* * * * *", overlap=Overlap.ALLOW, input=2)
    await floor.face.create(changed, replace=True)
    await floor.pass_by(FORSAKEN)
    assert await floor.told() == [("01:00", "started")]
    assert [run["body"] for run in await floor.runs()] == [b"1"]


async def test_what_cannot_be_started_is_said(floor: Clocked) -> None:
    """A tick whose input no longer fits the workflow has failed, with the reason; a backfill tries it again."""
    await floor.create(input={"n": 1})
    strict = {"type": "object", "properties": {"n": {"type": "string"}}}
    await floor.stage.register(NOOP, input=strict)
    await floor.pass_by(MINUTE)
    (tick,) = await floor.face.ticks("s")
    assert (tick.state, tick.run_id) == ("failed", None)
    assert "input.n" in str(tick.reason)
    await floor.stage.register(NOOP)
    done = await floor.face.backfill("s", NOON, floor.clock.now)
    assert done.filled == [NOON, NOON + MINUTE]
    await floor.look()
    assert ("01:00", "failed") not in await floor.told()


async def test_jitter_delays_each_tick_by_its_own_time(floor: Clocked) -> None:
    """A tick waits for up to its jitter, and keeps its time."""
    await floor.create(jitter_ms=600_000, overlap=Overlap.ALLOW)
    for _ in range(10):
        await floor.pass_by(MINUTE)
    ticks = await floor.face.ticks("s")
    assert {tick.state for tick in ticks} == {"waiting", "started"}
    assert all((tick.state == "started") == (tick.due_at <= floor.clock.now) for tick in ticks)
    await floor.face.pause("s")
    assert len(await floor.runs()) == sum(tick.state == "started" for tick in ticks)


async def test_old_ticks_are_forgotten_and_yet_not_started_again(floor: Clocked) -> None:
    """What became of a tick is known for three months; that it had its run, for ever."""
    await floor.create(cron="0 12 * * *", overlap=Overlap.ALLOW)
    await floor.pass_by(timedelta(days=1))
    (run,) = await floor.runs()
    await floor.end(run["run_id"])
    await floor.face.pause("s")
    await floor.pass_by(timedelta(days=1))
    await floor.pass_by(timedelta(days=91))
    assert await floor.face.ticks("s") == []
    await floor.face.backfill("s", NOON + timedelta(days=1), NOON + timedelta(days=1))
    await floor.look()
    assert [tick.run_id for tick in await floor.face.ticks("s")] == [run["run_id"]]
    assert len(await floor.runs()) == 1


async def test_schedules_of_another_environment_are_left_alone(floor: Clocked, place: Place) -> None:
    """A supervisor starts what its own environment asks for."""
    await floor.create()
    async with open_stage(Place(place.redis_url, place.database_url, place.env + "x")) as other:
        other.client.schedules.clock = floor.clock
        floor.clock.now += MINUTE
        await Schedules(other.client).look()
    assert await floor.told() == []

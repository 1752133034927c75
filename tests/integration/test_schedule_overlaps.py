"""What a tick does while an earlier run of its schedule goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from courante.sdk.schedules.schedule import CatchUp, Overlap, Schedule
from courante.sdk.schedules.ticker import Ticker
from courante.supervisor.schedules import Schedules
from integration.clocked import MINUTE, NOON, Clocked, clocked
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def floor(stage: Stage) -> Clocked:
    return await clocked(stage)


async def test_the_second_of_two_is_skipped(floor: Clocked) -> None:
    """Under ``skip`` a tick that comes while a run goes on has no run, and says which run that was."""
    await floor.create()
    await floor.pass_by(MINUTE)
    await floor.pass_by(MINUTE)
    (second, first) = await floor.face.ticks("s")
    assert (first.state, second.state) == ("started", "skipped")
    assert first.run_id is not None and first.run_id in str(second.reason)
    await floor.end(first.run_id)
    await floor.pass_by(MINUTE)
    assert await floor.told() == [("01:00", "ended"), ("02:00", "skipped"), ("03:00", "started")]


async def test_one_waits_for_the_run_before(floor: Clocked) -> None:
    """Under ``buffer_one`` the first that comes waits, and is started as soon as the run before has ended."""
    await floor.create(overlap=Overlap.BUFFER_ONE)
    for _ in range(3):
        await floor.pass_by(MINUTE)
    assert await floor.told() == [("01:00", "started"), ("02:00", "waiting"), ("03:00", "skipped")]
    (run,) = await floor.runs()
    await floor.end(run["run_id"])
    await floor.pass_by(timedelta(seconds=1))
    assert await floor.told() == [("01:00", "ended"), ("02:00", "started"), ("03:00", "skipped")]


async def test_all_wait_for_the_run_before(floor: Clocked) -> None:
    """Under ``buffer_all`` none is lost, and there is never more than one run."""
    await floor.create(overlap=Overlap.BUFFER_ALL, catch_up=CatchUp.ALL)
    await floor.pass_by(4 * MINUTE)
    for count in range(1, 5):
        runs = await floor.runs()
        assert len(runs) == count
        await floor.end(runs[-1]["run_id"])
        await floor.look()
        await floor.pass_by(timedelta(seconds=1))
    assert await floor.told() == [(f"0{n}:00", "ended") for n in range(1, 5)]


async def test_the_run_before_is_told_to_end(floor: Clocked) -> None:
    """Under ``cancel_previous`` the earlier run is cancelled once, and the latest tick is started when it has ended."""
    told: list[tuple[str, str]] = []

    async def cancel(run_id: str, reason: str = "", *, by: str | None = None) -> None:
        told.append((run_id, str(by)))

    ticker = Ticker(floor.stage.client.pool, floor.stage.place.env, floor.stage.client.start, cancel)
    floor.face.ticker = ticker
    floor.loop = Schedules(floor.stage.client)
    await floor.create(overlap=Overlap.CANCEL_PREVIOUS)
    await floor.pass_by(MINUTE)
    assert told == []
    await floor.pass_by(MINUTE)
    await floor.pass_by(MINUTE)
    (run,) = await floor.runs()
    assert told == [(run["run_id"], "schedule:s")]
    assert await floor.told() == [("01:00", "started"), ("02:00", "skipped"), ("03:00", "waiting")]
    await floor.end(run["run_id"])
    await floor.pass_by(timedelta(seconds=1))
    assert await floor.told() == [("01:00", "ended"), ("02:00", "skipped"), ("03:00", "started")]


async def test_a_backfill_goes_one_by_one_and_holds_up_nothing(floor: Clocked) -> None:
    """Runs that are filled in follow each other; what the clock brings is started beside them."""
    await floor.create(overlap=Overlap.SKIP)
    await floor.face.backfill("s", NOON - 2 * MINUTE, NOON)
    await floor.pass_by(MINUTE)
    states = [state for _, state in await floor.told()]
    assert states == ["started", "waiting", "waiting", "started"]
    (first, _) = await floor.runs()
    await floor.end(first["run_id"])
    await floor.pass_by(timedelta(seconds=1))
    states = [state for _, state in await floor.told()]
    assert states == ["ended", "started", "waiting", "started"]


async def test_the_run_before_is_really_cancelled(stage: Stage) -> None:
    """With a worker and a supervisor at work: runs that would wait for an hour are cancelled, one by the next one."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register({"id": "w", "type": "wait", "config": {"for": "1h"}})
    schedule = Schedule(id="s", workflow=workflow, every_ms=1_000, overlap=Overlap.CANCEL_PREVIOUS)
    await stage.client.schedules.create(schedule)

    async def ended() -> list[str]:
        return [str(tick.run_id) for tick in await stage.client.schedules.ticks("s") if tick.state == "ended"]

    runs = await until(ended, lambda runs: len(runs) >= 2)
    await stage.client.schedules.pause("s")
    results = await stage.results(runs)
    assert {result.status for result in results} == {"CANCELLED"}
    (cancel,) = [event for event in await stage.events(runs[-1]) if event.facts.type == "command.applied"]
    assert cancel.facts.data["by"] == "schedule:s"

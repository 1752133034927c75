"""Schedules in trouble: each tick is started once, whoever is killed or wakes up late."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from chaos.shapes import draw_orders, order
from chaos.site import PATIENCE_S, SHORT_LEASE_MS, Site
from courante.sdk.client.schedules import Schedules
from courante.sdk.schedules.schedule import CatchUp, Overlap, Schedule
from courante.sdk.schedules.tick import Tick
from integration.stage import until

pytestmark = pytest.mark.anyio
KILLED = -9
SECOND = timedelta(seconds=1)
OPEN = ("waiting", "starting")
DONE = ("started", "ended")


async def begin(site: Site) -> Schedules:
    """A chain is started every second."""
    one = order("chain", 0, "by-the-clock")
    face = (await site.reach_client()).schedules
    asked = Schedule(
        id="s", workflow=one.workflow, input=one.input, every_ms=1_000, overlap=Overlap.ALLOW, catch_up=CatchUp.ALL
    )
    await face.create(asked)
    return face


async def ticks_of(face: Schedules) -> Sequence[Tick]:
    return await face.ticks("s", limit=1000)


async def until_started(face: Schedules, count: int) -> list[Tick]:
    """Wait until so many ticks are started and none is in between; nothing comes after that."""
    await until(
        lambda: ticks_of(face), lambda ticks: sum(tick.run_id is not None for tick in ticks) >= count, PATIENCE_S
    )
    await face.pause("s")
    ticks = await until(lambda: ticks_of(face), lambda ticks: not any(tick.state in OPEN for tick in ticks), PATIENCE_S)
    return [tick for tick in ticks if tick.state != "skipped"]


async def check_once(site: Site, ticks: list[Tick]) -> None:
    """There is a run for each second, and no other one."""
    first = ticks[-1].at
    assert [tick.at for tick in reversed(ticks)] == [first + number * SECOND for number in range(len(ticks))]
    starts = await site.query("SELECT run_id FROM commands WHERE type = 'start' AND trigger = 'schedule'")
    assert sorted(row["run_id"] for row in starts) == sorted(str(tick.run_id) for tick in ticks)
    site.accepted.update({str(tick.run_id): "chain/0" for tick in ticks})
    await site.until_ended()
    await site.check()


async def test_two_supervisors_and_four_workers_do_everything_once(site: Site) -> None:
    """F56, F64: under load, for as long as it takes: no event, no tick and no end is there twice."""
    face = await begin(site)
    for _ in range(2):
        site.supervisor()
    for _ in range(4):
        site.worker()
    for seed in range(3):
        await site.order(draw_orders(640 + seed, 15))
        await site.until_ended()
    ticks = await until_started(face, 5)
    await check_once(site, ticks)
    assert site.said("log_diverged") == 0


@pytest.mark.parametrize("point", [pytest.param("before_tick", marks=pytest.mark.long), "after_tick"])
async def test_a_supervisor_is_killed_at_a_tick(site: Site, point: str) -> None:
    """F64: the tick has its row, and its run was not submitted, or was and nobody noted it."""
    face = await begin(site)
    first = site.supervisor(fault=f"{point}:2:kill9")
    site.worker()
    assert await first.wait() == KILLED
    site.supervisor()
    site.supervisor()
    ticks = await until_started(face, 6)
    await check_once(site, ticks)


async def test_a_supervisor_wakes_up_with_a_tick_in_its_hands(site: Site) -> None:
    """F64: it stood still with a tick that others have started in the meantime, and goes on as if nothing were.

    It may have stood still in the middle of recording too; what it had locked in Postgres is free after its silence.
    """
    site.lease_ms = SHORT_LEASE_MS
    face = await begin(site)
    first = site.supervisor(fault="before_tick:2:stop")
    site.worker()
    await first.until_frozen()
    held = len(await ticks_of(face))
    site.supervisor()
    ticks = await until(
        lambda: ticks_of(face), lambda ticks: {tick.state for tick in ticks[-held:]} == {"ended"}, PATIENCE_S
    )
    first.thaw()
    ticks = await until_started(face, len(ticks) + 3)
    await check_once(site, ticks)


@pytest.mark.long
async def test_three_supervisors_are_killed_again_and_again(site: Site) -> None:
    """F64: there is always another one, and what it finds half done it does once."""
    face = await begin(site)
    site.worker()
    for turn in range(2):
        members = [site.supervisor(fault=f"{point}_tick:{turn + 1}:kill9") for point in ("before", "after")]
        site.supervisor()
        with anyio.move_on_after(5):  # one of them may never come to its tick
            for member in members:
                await member.wait()
    ticks = await until_started(face, 8)
    await check_once(site, ticks)

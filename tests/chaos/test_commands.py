"""Commands at the worst moments: each is applied once, and exactly one end wins."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from chaos.shapes import Order, draw_cancelled, draw_orders, order
from chaos.site import SHORT_LEASE_MS, Site

pytestmark = pytest.mark.anyio
KILLED = -9
ENDS = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


async def test_cancels_race_with_ends(site: Site) -> None:
    """F62, F63: runs are cancelled at any moment of theirs; each has one end, the same in Redis, log and projection."""
    site.supervisor()
    early = await site.order(draw_cancelled(61, 5))
    for _ in range(2):
        site.worker()
    await site.until_ready()
    late = await site.order(draw_orders(60, 5, ["chain", "fan", "loop"]))
    await site.until_ended()
    for run_id in late:
        await site.say(run_id, "cancel")
    async with anyio.create_task_group() as group:
        for number, one in enumerate(draw_cancelled(62, 60)):
            group.start_soon(_cancel_after, site, one, number * 0.02)
    await site.until_ended()
    found = {row["run_id"]: row["status"] for row in await site.query("SELECT run_id, status FROM runs")}
    assert set(found.values()) <= ENDS
    assert {found[run_id] for run_id in early} == {"CANCELLED"}
    assert {found[run_id] for run_id in late} == {"COMPLETED"}
    await site.check()


async def _cancel_after(site: Site, one: Order, seconds: float) -> None:
    (run_id,) = await site.order([replace(one, said=one.said[:-1])])
    await anyio.sleep(seconds)
    await site.say(run_id, "cancel")


@pytest.mark.parametrize("point", ["before_commands:3", pytest.param("after_commands:1", marks=pytest.mark.long)])
async def test_commands_that_redis_never_heard_of(site: Site, point: str) -> None:
    """F64: decisions are acknowledged by Postgres while Redis is cut off; whoever is left applies each of them once."""
    site.worker()
    first = site.supervisor(fault=f"{point}:kill9")
    await site.until_ready()
    orders = [replace(order("asked", 1, f"unheard-{i}"), said=()) for i in range(4)]
    await site.order_then_say_unheard(orders, "signal go", "approve ask")
    assert await first.wait() == KILLED
    site.supervisor()
    await site.until_ended()
    await site.check()


async def test_a_cancel_while_everything_dies(site: Site) -> None:
    """F63: acknowledged cancels end their runs whatever becomes of workers, supervisors and Redis."""
    site.lease_ms = SHORT_LEASE_MS
    for _ in range(2):
        site.worker()
        site.supervisor()
    await site.until_ready()
    await site.order(draw_orders(63, 8))
    await site.order(draw_cancelled(64, 8))
    for member in list(site.members):
        member.kill()
    await site.redis.do("FLUSHALL")
    for _ in range(2):
        site.worker()
        site.supervisor()
    await site.order(draw_cancelled(65, 4))
    await site.until_ended()
    await site.check(excess=200)

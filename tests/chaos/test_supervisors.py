"""Supervisors in trouble: every run ends, once, whoever is left."""

from __future__ import annotations

import json

import anyio
import pytest
from redis.asyncio import Redis

from chaos.shapes import draw_orders, order
from chaos.site import ENV, Site
from courante.sdk.client.client import Client
from courante.sdk.keys import Keys

pytestmark = pytest.mark.anyio
KILLED = -9


@pytest.mark.parametrize("point", ["before_mark", pytest.param("after_mark", marks=pytest.mark.long)])
async def test_a_supervisor_is_killed_between_check_and_mark(site: Site, point: str) -> None:
    """F57: it has seen the counter at zero, or has just ended the run; another one ends it, or finds it ended."""
    first = site.supervisor(fault=f"{point}:2:kill9")
    site.worker()
    await site.order_until(lambda: first.code is not None, 57)
    assert first.code == KILLED
    site.supervisor()
    await site.until_ended()
    await site.check()


async def test_runs_go_on_without_a_supervisor(site: Site) -> None:
    """F57: nobody watches while they run; who comes later finds them finished and says so."""
    site.worker()
    await site.order(draw_orders(58, 10, ["chain", "fan", "loop", "choice"]))
    await site.until("XLEN", Keys(ENV).partition(0).done, 10)
    site.supervisor()
    await site.until_ended()
    await site.check()


async def test_many_timers_come_due_while_nobody_looks(site: Site) -> None:
    """F60: late, but each once, and in bounded batches."""
    site.worker(concurrency=32)
    await site.order(order("waiting", 0, f"due-{i}") for i in range(60))
    await site.until("ZCARD", Keys(ENV).partition(0).timers, 60)
    await anyio.sleep(0.1)  # as long as the timers have
    site.supervisor()
    site.supervisor()
    await site.until_ended()
    await site.check()


@pytest.mark.parametrize("point", ["before_timers:20", pytest.param("after_timers:1", marks=pytest.mark.long)])
async def test_a_supervisor_is_killed_at_its_timers(site: Site, point: str) -> None:
    """F60: what it was about to release is released by the next one, what it has released is not released again."""
    first = site.supervisor(fault=f"{point}:kill9")
    site.worker()
    await site.order(order("waiting", 1, f"timer-{i}") for i in range(10))
    assert await first.wait() == KILLED
    site.supervisor()
    await site.until_ended()
    await site.check()


@pytest.mark.parametrize("point", [pytest.param("before_intake", marks=pytest.mark.long), "after_intake"])
async def test_a_supervisor_is_killed_with_submissions(site: Site, point: str) -> None:
    """F17, F64: read but not committed, or committed and still pending; they become runs once."""
    first = site.supervisor(fault=f"{point}:1:kill9")
    site.worker()
    keys = Keys(ENV).partition(0)
    redis = Redis.from_url(site.redis.url)
    for i in range(5):
        one = order("chain", 1, f"by-hand-{i}")
        await redis.xadd(keys.submit, {"workflow": one.workflow, "input": json.dumps(one.input), "key": one.key})
    assert await first.wait() == KILLED
    site.supervisor()
    await redis.aclose()
    await site.until("XLEN", keys.submit, 0)
    for row in await site.query("SELECT run_id FROM commands WHERE type = 'start'"):
        site.accepted[row["run_id"]] = "chain/1"
    assert len(site.accepted) == 5
    await site.until_ended()
    await site.check()


@pytest.mark.parametrize("point", [pytest.param("before_reconcile", marks=pytest.mark.long), "after_reconcile"])
async def test_a_supervisor_is_killed_with_forgotten_starts(site: Site, point: str) -> None:
    """F24, F64: starts that Redis never heard of are applied once, whoever comes to do it."""
    way = await site.proxy(site.redis.port)
    url = f"redis://127.0.0.1:{way.port}"
    async with Client.open(redis_url=url, database_url=site.database_url, env=ENV, partitions=1) as client:
        for i in range(4):
            one = order("chain", 1, f"unheard-{i}")
            site.accepted[await client.submit(one.workflow, one.input, key=one.key)] = one.kind
            way.cut()
    first = site.supervisor(fault=f"{point}:1:kill9")
    site.worker()
    assert await first.wait() == KILLED
    site.supervisor()
    await site.until_ended()
    await site.check()

"""Runs that failed and are started again while everything dies: each of them once, from where it was."""

from __future__ import annotations

import json
from collections import Counter

import anyio
import pytest

from chaos.journal import count_executions, mend
from chaos.shapes import document, draw_orders, order, step
from chaos.site import ENV, PATIENCE_S, SHORT_LEASE_MS, Site
from courante.sdk.client.client import Client
from courante.sdk.errors import ServiceUnavailable

pytestmark = pytest.mark.anyio
KILLED = -9
BROKEN = document(
    "broken",
    step("a"),
    {"id": "pause", "type": "wait", "depends_on": "a", "config": {"for": "50ms"}},
    step("b", "pause", handler="chaos.broken", retry={"max_attempts": 1}),
    {"id": "m", "type": "map", "depends_on": "a", "config": {"items": "[1, 2, 3]", "max_concurrency": 2}},
    step("w", "m", input={"ms": "item == 3 ? 300 : 2"}),
    {"id": "all", "type": "aggregate", "depends_on": "w", "config": {"reduce": "acc + 1", "initial": 0}},
    {"id": "hear", "type": "signal", "depends_on": "a", "config": {"name": "go"}},
    step("z", ["b", "all", "hear"], input="inputs"),
)
"""It fails in the middle of a map and of a wait, until its step is mended."""


async def fail(site: Site, count: int) -> list[str]:
    """Order runs that fail, and wait until they have."""
    await site.register(BROKEN)
    ids = await site.order([order("broken", 1, f"broken-{i}") for i in range(count)])
    await site.until_ended()
    assert set((await statuses(site, ids)).values()) == {"FAILED"}
    return ids


async def statuses(site: Site, ids: list[str]) -> dict[str, str]:
    rows = await site.query("SELECT run_id, status FROM runs WHERE run_id = ANY($1)", ids)
    return {row["run_id"]: row["status"] for row in rows}


async def again(site: Site, run_id: str) -> str:
    """Start a run again, until that is acknowledged, and let it hear its signal."""
    client = await site.reach_client()
    with anyio.fail_after(PATIENCE_S):
        while True:
            try:
                done = await client.retry(run_id, by="harness")
            except ServiceUnavailable:
                await anyio.sleep(0.1)
            else:
                site.accepted[done.run_id] = ""
                await site.say(done.run_id, "signal", "go")
                return done.run_id


def executed(site: Site, node: str) -> Counter[str]:
    """How often a step was executed, by run."""
    lines = map(json.loads, site.journal.read_text("utf-8").splitlines())
    return Counter(line["run"] for line in lines if line["node"] == node)


@pytest.mark.parametrize("point", [pytest.param("before_reconcile", marks=pytest.mark.long), "after_reconcile"])
async def test_a_supervisor_is_killed_with_a_requeue(site: Site, point: str) -> None:
    """F24, F64: it is written in Postgres and Redis has not heard of it; whoever comes next starts it once."""
    supervisor = site.supervisor()
    site.worker()
    (base,) = await fail(site, 1)
    supervisor.kill()
    mend(site.journal)
    way = await site.proxy(site.redis.port)
    url = f"redis://127.0.0.1:{way.port}"
    async with Client.open(redis_url=url, database_url=site.database_url, env=ENV, partitions=1) as client:
        planned = await client.requeue(base, dry_run=True)
        way.cut()
        done = await client.requeue(base, by="harness")
        assert (done.run_id, done.is_new) == (planned.run_id, True)
    site.accepted[done.run_id] = ""
    first = site.supervisor(fault=f"{point}:1:kill9")
    assert await first.wait() == KILLED
    site.supervisor()
    await site.say(done.run_id, "signal", "go")
    await site.until_ended()
    assert await statuses(site, [done.run_id]) == {done.run_id: "COMPLETED"}
    assert executed(site, "b") == {base: 1, done.run_id: 1}
    assert executed(site, "a") == {base: 1}
    await site.check()


async def test_dead_letters_are_started_again_while_everything_dies(site: Site) -> None:
    """F17, F24: what was done before is taken over once, whoever is killed, and where Redis is emptied meanwhile."""
    site.lease_ms = SHORT_LEASE_MS
    for _ in range(2):
        site.supervisor()
        site.worker()
    await site.until_ready()
    failed = await fail(site, 6)
    mend(site.journal)
    before = count_executions(site.journal)
    runs = [await again(site, run_id) for run_id in failed[:3]]
    await site.members[0].until(lambda: count_executions(site.journal) > before)
    for member in site.members[:2]:
        member.kill()
    await site.redis.do("FLUSHALL")
    runs += [await again(site, run_id) for run_id in failed[2:]]
    site.supervisor()
    site.worker()
    await site.until_ended()
    assert len(set(runs)) == len(failed), "one was started again twice, as the same run"
    assert set((await statuses(site, runs)).values()) == {"COMPLETED"}
    assert set(executed(site, "a")) == set(failed)
    await site.check(excess=50)


async def test_several_partitions_in_trouble(site: Site) -> None:
    """F17, F21: of three partitions each has its own epoch, timers and recorder; all of them recover."""
    site.lease_ms = SHORT_LEASE_MS
    await site.split(3)
    for _ in range(2):
        site.supervisor()
        site.worker()
    await site.until_ready()
    await site.order(draw_orders(90, 9))
    await site.members[0].until(lambda: count_executions(site.journal) >= 10)
    for member in site.members[:2]:
        member.kill()
    site.redis.kill()
    await site.redis.start()
    site.supervisor()
    site.worker()
    await site.order(draw_orders(91, 3))
    await site.redis.do("FLUSHALL")
    await site.order(draw_orders(92, 3))
    await site.until_ended()
    await site.check(excess=200)

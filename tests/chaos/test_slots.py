"""Limits under kill -9: never more is worked on at once than may be, and no slot is lost with whoever had it."""

from __future__ import annotations

import pytest

from chaos.journal import most_at_once
from chaos.shapes import document, order, step
from chaos.site import ENV, SHORT_LEASE_MS, Site
from courante.sdk.events import decode_facts

pytestmark = pytest.mark.anyio
KILLED = -9
WIDTH = 24


async def play(site: Site, workflow: str, point: str, count: int) -> list[str]:
    """Run a workflow so often, while two workers die at the point; return the runs, which have all gone well."""
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    doomed = [site.worker(fault=f"{point}:kill9", concurrency=8) for _ in range(2)]
    runs = await site.order(order(workflow, number, f"{workflow}-{number}") for number in range(count))
    for worker in doomed:
        assert await worker.wait() == KILLED
    site.worker(concurrency=8)
    await site.until_ended()
    rows = await site.query("SELECT status FROM runs")
    assert [row["status"] for row in rows] == ["COMPLETED"] * count
    return runs


@pytest.mark.parametrize("point", [pytest.param("before_advance:6", marks=pytest.mark.long), "after_advance:6"])
async def test_a_bounded_run_survives_its_workers(site: Site, point: str) -> None:
    """F01, F03, F04: a dead worker's tokens keep their room until somebody has ended them."""
    wide = [f"w{number}" for number in range(WIDTH)]
    branches = (step(name, "a", handler="chaos.slotted", input={"ms": "15"}) for name in wide)
    bounded = document("bounded", step("a"), *branches, step("z", wide), policy={"max_parallel": 3})
    await site.register(bounded)
    runs = await play(site, "bounded", point, 2)
    assert most_at_once(site.journal) == dict.fromkeys(runs, 3)
    await site.check()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before_advance:6", marks=pytest.mark.long),
        pytest.param("after_advance:6", marks=pytest.mark.long),
        "after_handler:4",
    ],
)
async def test_slots_of_a_key_survive_the_workers_that_hold_them(site: Site, point: str) -> None:
    """F01, F03, F04: over all runs no more are in flight than the limit, and in the end every slot is free."""
    shared = {
        "concurrency": {"key": "'printer ' + string(input.n % 2)", "limit": 2},
        "input": {"ms": "10", "group": "string(input.n % 2)"},
    }
    names = [f"w{number}" for number in range(4)]
    branches = (step(name, handler="chaos.slotted") | shared for name in names)
    await site.register(document("printing", *branches, step("z", names)))
    await play(site, "printing", point, 8)
    assert most_at_once(site.journal) == {"0": 2, "1": 2}
    kept = await site.redis.do("KEYS", f"courante:{ENV}:{{0}}:slot*")
    assert not kept, "no slot is held, and nobody waits for one"
    await site.check()


@pytest.mark.parametrize("point", [pytest.param("before_advance:6", marks=pytest.mark.long), "after_advance:6"])
async def test_a_rate_is_kept_whoever_dies_meanwhile(site: Site, point: str) -> None:
    """F01, F03: over all runs each step has one turn, no two turns are closer than they may be, and none is lost."""
    paced = {"rate_limit": {"key": "'mail'", "limit": 3, "per": "300ms"}, "input": {"ms": "5"}}
    names = [f"w{number}" for number in range(4)]
    branches = (step(name, handler="chaos.slotted") | paced for name in names)
    await site.register(document("mailing", *branches, step("z", names)))
    await play(site, "mailing", point, 8)
    rows = await site.query("SELECT facts FROM event_log WHERE type = 'timer.set'")
    dues = sorted(decode_facts(row["facts"]).due for row in rows)
    assert len(dues) == 4 * 8
    assert all(fourth - first >= 99 for first, fourth in zip(dues, dues[3:], strict=False)), dues
    await site.check()

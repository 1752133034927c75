"""Workers in trouble: their tokens go on with somebody else, and what they do too late changes nothing."""

from __future__ import annotations

import anyio
import pytest

from chaos.journal import count_executions
from chaos.shapes import document, draw_orders, order, step
from chaos.site import MIDDLE_LEASE_MS, PATIENCE_S, SHORT_LEASE_MS, Site
from courante.sdk.floor.scripts import load_script

pytestmark = pytest.mark.anyio
KILLED = -9


@pytest.mark.parametrize(
    "point",
    ["before_handler:3", "after_handler:3", "before_advance:8", "after_advance:8"],
    ids=lambda point: str(point).partition(":")[0],
)
async def test_a_worker_is_killed(site: Site, point: str) -> None:
    """F01, F03, F04: killed around its handler and around its call; others take over after the lease."""
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    first = site.worker(fault=f"{point}:kill9")
    await site.order(draw_orders(1, 12, ["chain", "fan", "loop", "mended"]))
    assert await first.wait() == KILLED
    site.worker()
    await site.until_ended()
    await site.check()


async def test_a_worker_dies_in_its_handler(site: Site) -> None:
    """F02: the handler runs again elsewhere, with the same key, and its transition is made once."""
    await site.register(document("dying", step("a"), step("b", "a", handler="chaos.poison", input={"times": "1"})))
    site.lease_ms = MIDDLE_LEASE_MS
    site.supervisor()
    first = site.worker()
    (run_id,) = await site.order([order("dying", 0, "dying")])
    assert await first.wait() == 70
    site.worker()
    await site.until_ended()
    assert count_executions(site.journal) == 3
    assert [row["status"] for row in await site.query("SELECT status FROM runs WHERE run_id = $1", run_id)] == [
        "COMPLETED"
    ]
    await site.check()


async def test_a_worker_is_killed_that_makes_what_others_wait_for(site: Site) -> None:
    """The lock of an output is free after its time: one other attempt makes it, and the rest takes that."""
    await site.register(document("cached", step("a", cache="global", input="input.n")))
    site.lease_ms = MIDDLE_LEASE_MS
    site.supervisor()
    first = site.worker(fault="after_handler:1:kill9")
    run_ids = await site.order([order("cached", 0, f"cached-{number}") for number in range(6)])
    assert await first.wait() == KILLED
    for _ in range(2):
        site.worker()
    await site.until_ended()
    assert count_executions(site.journal) == 2
    rows = await site.query("SELECT status, reason FROM node_executions WHERE run_id = ANY($1)", run_ids)
    assert sorted((row["status"], row["reason"] or "") for row in rows) == [
        *[("SKIPPED", "cache_hit")] * 5,
        ("SUCCEEDED", ""),
    ]


async def test_the_answer_is_lost_and_the_same_worker_asks_again(site: Site) -> None:
    """F05: the script repeats what it said the first time; nothing is done twice."""
    site.supervisor()
    worker = site.worker(fault=",".join(f"after_advance:{turn}:raise" for turn in range(2, 30, 3)))
    await site.order(draw_orders(5, 15))
    await site.until_ended()
    assert site.said("lose its connection") > 3
    assert worker.code is None
    await site.check()


async def test_the_network_loses_answers(site: Site) -> None:
    """F05: the same with a connection that breaks for good after the call got there."""
    site.supervisor()
    way = await site.proxy(site.redis.port)
    site.worker(redis=way)
    for seed in range(4):
        way.lose_answer(load_script("advance").library.name.encode(), turn=2)
        await site.order(draw_orders(seed, 4))
        await site.until_ended()
    assert way.lost == 4
    await site.check()


async def test_a_zombie_wakes_up(site: Site) -> None:
    """F07, F08: frozen for longer than its lease with work in hand; others do it; woken, it changes nothing."""
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    zombie = site.worker()
    await zombie.until_said("_started")
    await site.order(draw_orders(7, 12, ["chain", "fan", "wide"]))
    await zombie.until(lambda: count_executions(site.journal) >= 8)
    zombie.freeze()
    site.worker()
    await site.until_ended()
    zombie.thaw()
    await site.order(draw_orders(8, 6))
    await site.until_ended()
    assert zombie.code is None
    await site.check()


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before_handler:4", marks=pytest.mark.long),
        pytest.param("after_handler:4", marks=pytest.mark.long),
        "before_advance:8",
        pytest.param("after_advance:8", marks=pytest.mark.long),
    ],
)
async def test_a_zombie_that_fell_asleep_at_the_worst_moment(site: Site, point: str) -> None:
    """F07, F08: frozen around its handler and around its call; what it does when it wakes up changes nothing."""
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    zombie = site.worker(fault=f"{point}:stop")
    await site.order(draw_orders(70, 8, ["chain", "fan", "loop", "mended"]))
    await zombie.until_frozen()
    site.worker()
    await site.until_ended()
    zombie.thaw()
    await site.order(draw_orders(71, 4))
    await site.until_ended()
    assert zombie.code is None
    await site.check()


async def test_a_worker_loses_redis_for_longer_than_its_lease(site: Site) -> None:
    """F10: its handlers go on and come to an end; back again, it hears that they are no longer its own."""
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    way = await site.proxy(site.redis.port)
    lonely = site.worker(redis=way)
    await lonely.until_said("_started")
    await site.order(draw_orders(10, 12, ["chain", "fan", "wide"]))
    await lonely.until(lambda: count_executions(site.journal) >= 8)
    way.cut()
    site.worker()
    await site.until_ended()
    way.mend()
    await site.order(draw_orders(11, 6))
    await site.until_ended()
    assert lonely.code is None
    await site.check()


async def test_a_half_closed_connection(site: Site) -> None:
    """F31: the server's side of every connection falls silent; the worker connects again and loses nothing."""
    site.supervisor()
    way = await site.proxy(site.redis.port)
    site.worker(redis=way)
    await site.until_ready()
    for seed in range(3):
        await site.order(draw_orders(seed, 4))
        way.half_close()
    await site.until_ended()
    await site.check()


async def test_handlers_block_the_loop(site: Site) -> None:
    """F12: for longer than a lease; the token is still its own, and nobody else has it."""
    site.lease_ms = 6_000
    given = {"ms": "8000"}
    await site.register(document("blocking", step("a"), step("b", "a", handler="chaos.block", input=given)))
    site.supervisor()
    site.worker()
    site.worker()
    await site.order([order("blocking", 0, "blocking")])
    await site.until_ended()
    await site.check("--claimed", "0")


async def test_workers_are_replaced_under_load(site: Site) -> None:
    """F16: SIGTERM; each finishes what it has, and no handler runs twice, not those that fail either."""
    site.supervisor()
    workers = [site.worker() for _ in range(2)]
    for seed in range(3):
        await site.order(draw_orders(seed, 10))
        await site.order(draw_orders(16 + seed, 6, ["failing", "mended", "retried", "undone"]))
        worker = workers.pop(0)
        await worker.until_said("_started")
        workers.append(site.worker())
        assert await worker.stop() == 0
    await site.until_ended()
    await site.check()


async def test_a_step_kills_whoever_touches_it(site: Site) -> None:
    """F13: after as many deliveries as are allowed its run fails, and others were not held up."""
    await site.register(document("deadly", step("a"), step("b", "a", handler="chaos.poison", input={"n": "1"})))
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    worker = site.worker(concurrency=1)
    (run_id,) = await site.order([order("deadly", 0, "deadly")])
    with anyio.fail_after(PATIENCE_S):
        while await site.unended():
            if worker.code is not None:
                worker = site.worker(concurrency=1)
            await anyio.sleep(0.1)
    (row,) = await site.query("SELECT status, error->>'type' AS type FROM runs WHERE run_id = $1", run_id)
    assert (row["status"], row["type"]) == ("FAILED", "POISONED")
    await site.order(draw_orders(13, 5))
    await site.until_ended()
    await site.check()

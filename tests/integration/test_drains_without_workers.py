"""Runs that end early where no worker reads their queues: the audit takes away what is left of them."""

from __future__ import annotations

import anyio
import pytest

from courante.replay import verify_run
from courante.sdk.floor.repairs import audit_runs
from integration.cases import node, waits
from integration.heads import head_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def far(id: str, *after: str, **more: object) -> dict[str, object]:
    """A step in a queue that nobody reads."""
    return node(id, *after, type="function", config={"handler": "far"}, queue="far", **more)


async def verified(stage: Stage, run_id: str) -> bool:
    async with stage.client.pool.acquire() as conn:
        return (await verify_run(conn, stage.place.env, run_id)).ok


async def test_a_cancelled_run_ends_where_no_worker_lives(stage: Stage) -> None:
    """F63: what is queued, what waits for a time or for room, the sweep itself: all of it goes, and the log says so."""
    stage.supervisor(audit_s=0.1)
    await stage.register(*(far(f"f{i}") for i in range(5)), far("z", "f0"), policy={"max_parallel": 3})
    await stage.register(far("a", queue_timeout="1h"), id="patient")
    ids = [await stage.client.submit("w"), await stage.client.submit("patient")]
    for run_id in ids:
        assert (await stage.client.cancel(run_id, by="ada")).state == "applied"
    assert {(await stage.result(run_id)).status for run_id in ids} == {"CANCELLED"}
    types = await stage.types(ids[0])
    assert types.count("token.withdrawn") == 5
    assert types[-2:] == ["run.swept", "run.cancelled"]
    for run_id in ids:
        assert await verified(stage, run_id)
    keys = stage.client.keys.partition(0)
    for queue in ("far:normal", "system:high"):
        assert await stage.redis.xlen(keys.queue(queue)) == 0
    assert await stage.redis.zcard(keys.timers) == 0


async def test_a_worker_of_another_queue_does_not_hold_it_up(stage: Stage) -> None:
    """It sweeps what waits; what stands in the queue of nobody goes with the audit. A time that is up is no other."""
    stage.supervisor(audit_s=0.1)
    stage.worker()
    await stage.register(far("a"), waits("s", name="go"), policy={"timeout": "100ms"})
    run_id = await stage.client.submit("w")
    assert (await stage.result(run_id)).status == "TIMED_OUT"
    assert await verified(stage, run_id)


async def test_what_somebody_has_in_hands_is_left_to_him(stage: Stage) -> None:
    """F63: the step goes on until its worker hands it in, or is told; the audit takes nothing from anybody."""
    entered, leave = anyio.Event(), anyio.Event()

    async def hold() -> int:
        entered.set()
        with anyio.CancelScope(shield=True):
            await leave.wait()
        return 1

    stage.supervisor(audit_s=3_600)
    stage.worker({"hold": hold})
    await stage.register(node("a", type="function", config={"handler": "hold"}), far("b"))
    run_id = await stage.client.submit("w")
    await entered.wait()
    try:
        await stage.client.cancel(run_id)
        keys = stage.client.keys.partition(0)
        await until(lambda: head_of(stage.redis, keys.run(run_id)), lambda head: head.counter == 2)
        for _ in range(2):
            assert (await audit_runs(stage.redis, keys, [run_id])).halted == []
        assert (await head_of(stage.redis, keys.run(run_id))).counter == 1
        assert await stage.redis.hexists(keys.run(run_id), "t0")
    finally:
        leave.set()
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert await verified(stage, run_id)


async def test_the_audit_sees_a_run_of_several_pages_out(stage: Stage) -> None:
    """F63: more fields than one look takes: page by page, and the sweep goes when nothing else is left."""
    await stage.register(*(far(f"f{i}") for i in range(400)))
    run_id = await stage.client.submit("w")
    keys = stage.client.keys.partition(0)
    await stage.redis.hset(keys.run(run_id), mapping={f"o{1_000 + i}": b"1" for i in range(2_000)})
    await stage.client.cancel(run_id)
    stage.supervisor(audit_s=0.1)
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert (await stage.types(run_id)).count("token.withdrawn") == 400
    assert await verified(stage, run_id)

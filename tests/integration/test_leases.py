"""Leases with real workers and supervisors: what falls silent is taken over, what is alive is left alone."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from courante.sdk.events import RecordedEvent
from courante.sdk.live_marking import read_marking
from courante.sdk.scripts import QUEUE_GROUP, open_partition
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
LEASE_MS = 600


def step(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


def claims(events: list[RecordedEvent]) -> list[tuple[str, object]]:
    return [
        (event.facts.node, event.facts.data["deliveries"]) for event in events if event.facts.type == "token.claimed"
    ]


async def test_a_dead_workers_step_is_run_by_another_soon(stage: Stage) -> None:
    """F02: killed inside its handler. Another runs it after the lease and less than a second, and it counts once."""
    entered: list[float] = []
    leave = anyio.Event()

    async def hold(value: int) -> int:
        entered.append(time.monotonic())
        await leave.wait()
        return value

    stage.supervisor(lease_ms=LEASE_MS)
    stage.worker({"hold": hold}, lease_ms=LEASE_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    await until(anyio.lowlevel.checkpoint, lambda _: len(entered) == 1)
    await stage.kill(1)
    died = time.monotonic()
    leave.set()
    stage.worker({"hold": hold}, lease_ms=LEASE_MS)
    assert (await stage.result(run_id)).output == {"a": 7}
    assert len(entered) == 2
    assert entered[1] - died < LEASE_MS / 1000 + 1
    events = await stage.events(run_id)
    assert claims(events) == [("a", 1)]
    assert [event.facts.node for event in events if event.facts.type == "step.succeeded"] == ["a"]
    assert await until(stage.pending, lambda pending: not pending) == {}


async def test_a_long_step_keeps_its_lease(stage: Stage) -> None:
    """A handler that runs for several leases, on the loop or in a thread, is run once."""
    ran: list[str] = []

    async def waits(value: int) -> int:
        ran.append("loop")
        await anyio.sleep(4 * LEASE_MS / 1000)
        return value

    def sleeps(value: int) -> int:
        ran.append("thread")
        time.sleep(4 * LEASE_MS / 1000)
        return value

    stage.supervisor(lease_ms=LEASE_MS)
    for _ in range(2):
        stage.worker({"waits": waits, "sleeps": sleeps}, lease_ms=LEASE_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "waits"), step("b", "sleeps")), 7)
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert sorted(ran) == ["loop", "thread"]
    assert claims(await stage.events(run_id)) == []


async def test_a_claimed_token_says_so_in_redis_and_in_the_log(stage: Stage) -> None:
    """The fold of the log counts the same deliveries as the record."""
    keys = stage.client.keys.partition(0)
    stream = keys.queue("default:normal")
    await open_partition(stage.redis, keys, [(stream, QUEUE_GROUP)], epoch=None)
    stage.supervisor(lease_ms=LEASE_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    await stage.redis.xreadgroup("workers", "gone", {stream: ">"})
    await until(lambda: stage.redis.xlen(keys.queue("default:high")), bool)
    live = await read_marking(stage.redis, keys, run_id)
    assert live is not None
    assert live.tokens[0, ()].deliveries == 1
    assert await stage.redis.xlen(stream) == 0
    assert claims(await until(lambda: stage.events(run_id), lambda events: bool(claims(events)))) == [("a", 1)]

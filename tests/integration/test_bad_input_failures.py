"""A step that fails for good: what ends with it, what stays, and who goes on."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from courante.sdk.stores.runs import get_run
from integration.heads import head_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def step(id: str, handler: str = "bad", *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


async def test_a_failure_drains_its_run(stage: Stage) -> None:
    """Branches beside it stop, waits are withdrawn, completed outputs stay, and the end comes once."""
    entered, leave = anyio.Event(), anyio.Event()

    async def slow() -> str:
        entered.set()
        await leave.wait()
        return "kept"

    async def bad() -> None:
        await entered.wait()
        raise ValueError("broken")

    stage.worker({"slow": slow, "bad": bad})
    stage.supervisor()
    nodes = [
        {"id": "first", "type": "noop"},
        step("bad", "bad", "first"),
        step("slow", "slow", "first"),
        {"id": "parked", "type": "wait", "depends_on": ["first"], "config": {"for": "1h"}},
        {"id": "after_slow", "type": "noop", "depends_on": ["slow"]},
        {"id": "join", "type": "noop", "depends_on": ["bad", "slow", "parked"]},
    ]
    run_id = await stage.client.submit(await stage.register(*nodes), {"kept": True})
    await until(lambda: stage.types(run_id), lambda types: "token.withdrawn" in types)
    leave.set()
    result = await stage.result(run_id)
    assert result.status == "FAILED"
    assert result.error is not None
    assert (result.error["type"], result.error["message"], result.error["node"]) == ("ValueError", "broken", "bad")
    assert await stage.succeeded(run_id) == ["first", "slow"]
    withdrawn = [event.facts.node for event in await stage.events(run_id) if event.facts.type == "token.withdrawn"]
    assert withdrawn == ["parked"]
    keys = stage.client.keys.partition(0)
    assert await stage.redis.zcard(keys.timers) == 0
    assert (await head_of(stage.redis, keys.run(run_id))).counter == 0
    async with stage.client.pool.acquire() as conn:
        assert (await get_run(conn, run_id)).drain_reason == "failed"
    assert (await stage.run(await stage.register({"id": "a", "type": "noop"}, id="fine"), 1)).output == {"a": 1}


async def test_a_run_that_continues_finishes_what_does_not_depend_on_the_failure(stage: Stage) -> None:
    """Under ``on_failure: continue`` independent branches end, dependents are skipped, and the run ends FAILED."""
    stage.worker({"bad": lambda: 1 / 0})
    stage.supervisor()
    nodes = [
        step("bad", "bad"),
        {"id": "after_bad", "type": "noop", "depends_on": ["bad"]},
        {"id": "w", "type": "wait", "config": {"for": "30ms"}},
        {"id": "after_w", "type": "noop", "depends_on": ["w"]},
        {"id": "join", "type": "noop", "depends_on": ["after_bad", "after_w"]},
    ]
    result = await stage.run(await stage.register(*nodes, policy={"on_failure": "continue"}))
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["type"] == "ZeroDivisionError"
    assert sorted(await stage.succeeded(result.run_id)) == ["after_w", "w"]


async def test_an_error_route_is_taken_and_heals_the_run(stage: Stage) -> None:
    """``on_error`` is run in place of what follows, can read the error, and the run is COMPLETED."""
    stage.worker({"bad": lambda: 1 / 0})
    stage.supervisor()
    nodes = [
        step("bad", "bad", on_error="sorry"),
        {"id": "next", "type": "noop", "depends_on": ["bad"]},
        {"id": "sorry", "type": "transform", "config": {"mapping": {"kind": "steps.bad.error.type"}}},
    ]
    result = await stage.run(await stage.register(*nodes))
    assert result.status == "COMPLETED"
    assert result.output == {"sorry": {"kind": "ZeroDivisionError"}}
    assert await stage.succeeded(result.run_id) == ["sorry"]

"""What is open holds its count: no run is over while something of it may still come."""

from __future__ import annotations

from typing import Any

import pytest

from courante import RetryableError
from integration.heads import head_of
from integration.stage import Stage, until
from integration.test_leases import step

pytestmark = pytest.mark.anyio
HOUR = {"base": "1h", "jitter": False, "max": "2h", "max_attempts": 3}
OPEN: dict[str, dict[str, Any]] = {
    "timer": {"type": "wait", "config": {"for": "1h"}},
    "retry": {"type": "function", "config": {"handler": "fails"}, "retry": HOUR},
    "gate": {"type": "approval", "config": {"form": {"type": "object"}}},
    "signal": {"type": "signal", "config": {"name": "go"}},
}


async def fails(value: int) -> None:
    raise RetryableError("once more")


async def works(value: int) -> int:
    return value


@pytest.mark.parametrize("kind", OPEN)
async def test_what_waits_holds_its_run_open(stage: Stage, kind: str) -> None:
    """F58: the other branch has ended and nothing is queued; the run counts what waits, and is not done."""
    keys = stage.client.keys.partition(0)
    stage.supervisor()
    stage.worker({"fails": fails, "works": works})
    workflow = await stage.register({"id": "open", **OPEN[kind]}, step("other", "works"), id=kind)
    run_id = await stage.client.submit(workflow, 7)
    await until(lambda: stage.succeeded(run_id), lambda nodes: nodes == ["other"])
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types or "step.retried" in types)
    head = await head_of(stage.redis, keys.run(run_id))
    assert (head.phase, head.counter) == ("R", 1)
    assert await stage.redis.xlen(keys.done) == 0
    assert (await stage.client.result(run_id)).status == "RUNNING"
    await stage.client.cancel(run_id)
    assert (await stage.result(run_id)).status == "CANCELLED"


async def test_a_fan_out_in_chunks_is_not_over_between_two_of_them(stage: Stage) -> None:
    """F58: its own token goes on as a cursor, so that the count is never zero before the last chunk is out."""
    width = 1_200
    nodes = [{"id": f"n{at}", "type": "noop", "depends_on": "a"} for at in range(width)]
    workflow = await stage.register({"id": "a", "type": "noop"}, *nodes, id="wide")
    stage.supervisor()
    stage.worker(concurrency=1_000)
    run_id = await stage.client.submit(workflow)
    assert (await stage.result(run_id)).status == "COMPLETED"
    types = await stage.types(run_id)
    assert types.count("effects.continued") == 2
    assert types.count("step.succeeded") == width + 1

"""Runs that are far too large, or too many at once: they end, and nobody else waits for them."""

from __future__ import annotations

import pytest

from integration.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_run_with_too_many_events_fails(stage: Stage) -> None:
    """F72: a loop that would go round a hundred thousand times is ended at the limit, and says why."""
    stage.supervisor(run_events_max=500)
    stage.worker()
    again = {"while": "true", "back_to": "a", "max_iterations": 100_000}
    workflow = await stage.register(
        {"id": "a", "type": "transform", "config": {"expression": "loop.iteration"}},
        {"id": "b", "type": "transform", "depends_on": "a", "config": {"expression": "1"}, "loop": again},
    )
    run_id = await stage.client.submit(workflow)
    result = await stage.result(run_id, timeout_s=120)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["type"] == "RUN_TOO_LONG"
    events = await stage.events(run_id)
    assert [event.facts.reason for event in events if event.facts.type == "run.draining"] == ["too_long"]
    assert 500 < len(events) < 200_000
    assert (await stage.run(await stage.register({"id": "a", "type": "noop"}, id="small"))).status == "COMPLETED"


@pytest.mark.parametrize("noisy", [2_000])
async def test_a_large_run_of_low_priority_delays_nobody(stage: Stage, noisy: int) -> None:
    """F73: a run with thousands of tokens in the queue; another one, of a class above it, starts and ends at once."""
    ran: list[str] = []

    async def works(value: str) -> str:
        ran.append(value)
        return value

    nodes = [
        {"id": f"n{at}", "type": "function", "config": {"handler": "works"}, "input": "'noisy'", "priority": "low"}
        for at in range(noisy)
    ]
    many = await stage.register(*nodes, id="many")
    one = await stage.register(
        {"id": "a", "type": "function", "config": {"handler": "works"}, "input": "'a'"},
        {"id": "b", "type": "function", "config": {"handler": "works"}, "depends_on": "a", "input": "'b'"},
        id="one",
    )
    large = await stage.client.submit(many)
    small = await stage.client.submit(one)
    stage.supervisor()
    stage.worker({"works": works}, concurrency=4)
    assert (await stage.result(small)).status == "COMPLETED"
    assert (await stage.result(large, timeout_s=120)).status == "COMPLETED"
    assert ran.index("b") < 100
    assert len(ran) == noisy + 2

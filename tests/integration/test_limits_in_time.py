"""Whatever has a time limit ends by it: runs, starts, tokens in a queue, waits for people and signals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from integration.hastening import hasten
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


async def test_a_run_whose_time_is_over_is_drained(stage: Stage) -> None:
    """What is parked is taken away, what runs is waited for, the run is TIMED_OUT; its timer goes with a run's end."""
    entered, leave = anyio.Event(), anyio.Event()

    async def slow() -> str:
        entered.set()
        await leave.wait()
        return "done"

    stage.worker({"slow": slow})
    stage.supervisor()
    nodes: list[dict[str, object]] = [
        {"id": "slow", "type": "function", "config": {"handler": "slow"}},
        {"id": "parked", "type": "wait", "config": {"for": "1h"}},
        {"id": "after", "type": "noop", "depends_on": ["slow"]},
    ]
    workflow = await stage.register(*nodes, policy={"timeout": "2h"})
    run_id = await stage.client.submit(workflow)
    await entered.wait()
    await until(lambda: stage.types(run_id), lambda types: "timer.set" in types)
    assert await hasten(stage, "!timeout") == 1
    await until(lambda: stage.types(run_id), lambda types: "run.draining" in types)
    leave.set()
    result = await stage.result(run_id)
    assert result.status == "TIMED_OUT"
    assert result.error is not None
    assert result.error["type"] == "RUN_TIMED_OUT"
    types = await stage.types(run_id)
    assert types.count("run.draining") == 1
    assert await stage.succeeded(run_id) == ["slow"]
    quick = await stage.register({"id": "a", "type": "noop"}, id="quick", policy={"timeout": "1h"})
    assert (await stage.run(quick, 1)).status == "COMPLETED"
    assert await stage.redis.zcard(stage.client.keys.partition(0).timers) == 0


async def test_a_start_expires_without_any_worker(stage: Stage) -> None:
    """Nobody has to read its token for that; a worker that comes later ends the run as TIMED_OUT."""
    stage.supervisor()
    workflow = await stage.register({"id": "a", "type": "noop"})
    run_id = await stage.client.submit(workflow, 1, expires_at=datetime.now(UTC) + timedelta(milliseconds=200))
    await until(lambda: stage.types(run_id), lambda types: "run.draining" in types)
    stage.worker()
    result = await stage.result(run_id)
    assert result.status == "TIMED_OUT"
    assert result.error is not None
    assert result.error["type"] == "EXPIRED"
    assert await stage.succeeded(run_id) == []


async def test_a_token_that_nobody_takes_in_time_fails_its_node(stage: Stage) -> None:
    """No worker reads the queue; its node fails with QUEUE_TIMEOUT, its error edge is taken. A quick one does not."""
    stage.worker({"f": lambda: "ran"})
    stage.supervisor()
    nodes: list[dict[str, object]] = [
        {"id": "a", "type": "noop", "queue": "nobody", "queue_timeout": "200ms", "on_error": "late"},
        {"id": "late", "type": "echo", "config": {"value": "late"}},
        {"id": "b", "type": "function", "config": {"handler": "f"}, "queue_timeout": "10s"},
    ]
    run_id = await stage.client.submit(await stage.register(*nodes))
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"late": "late", "b": "ran"})
    failed = [event for event in await stage.events(run_id) if event.facts.type == "step.failed"]
    assert [(event.facts.node, event.facts.error.type) for event in failed if event.facts.error] == [
        ("a", "QUEUE_TIMEOUT")
    ]


async def test_waits_for_people_and_signals_expire(stage: Stage) -> None:
    """An approval and a signal that never come fail their nodes; a choice takes its time as one of the events."""
    stage.worker()
    stage.supervisor()
    nodes: list[dict[str, object]] = [
        {"id": "person", "type": "approval", "config": {"expires": "150ms"}, "on_error": "no_person"},
        {"id": "no_person", "type": "noop"},
        {"id": "news", "type": "signal", "config": {"name": "paid", "expires": "100ms"}, "on_error": "no_news"},
        {"id": "no_news", "type": "noop"},
        {"id": "first", "type": "signal", "config": {"first_of": [{"name": "x"}, {"after": "50ms"}]}},
    ]
    run_id = await stage.client.submit(await stage.register(*nodes, output="steps.first.output"))
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"event": "after", "data": None})
    failed = {
        event.facts.node: event.facts.error.type
        for event in await stage.events(run_id)
        if event.facts.type == "step.failed" and event.facts.error is not None
    }
    assert failed == {"person": "APPROVAL_EXPIRED", "news": "SIGNAL_EXPIRED"}


async def test_an_approval_that_nobody_gives_is_escalated_once(stage: Stage) -> None:
    stage.worker()
    stage.supervisor()
    config = {"escalate_to": "lead", "escalate_after": "100ms", "expires": "400ms"}
    node: dict[str, object] = {"id": "person", "type": "approval", "config": config}
    run_id = await stage.client.submit(await stage.register(node))
    assert (await stage.result(run_id)).status == "FAILED"
    types = await stage.types(run_id)
    assert types.count("approval.escalated") == 1
    assert types.index("approval.escalated") < types.index("token.released")


async def test_what_was_done_is_undone_in_reverse_order(stage: Stage) -> None:
    """S3-80: after a failure the compensations of all that was completed run, last one first, each once and alone."""
    undone: list[str] = []

    async def undo(value: object) -> str:
        undone.append(str(value))
        return "undone"

    def fail() -> None:
        raise RuntimeError("broken")

    stage.worker({"undo": undo, "fail": fail})
    stage.supervisor()
    nodes: list[dict[str, object]] = []
    for name, before in (("car", None), ("hotel", "car"), ("flight", "hotel")):
        step: dict[str, object] = {"id": name, "type": "echo", "config": {"value": name}, "compensate": f"no_{name}"}
        nodes.append(step if before is None else {**step, "depends_on": before})
        nodes.append({"id": f"no_{name}", "type": "function", "config": {"handler": "undo"}})
    nodes.append(
        {"id": "pay", "type": "function", "config": {"handler": "fail"}, "depends_on": "flight", "max_retries": 0}
    )
    run_id = await stage.client.submit(await stage.register(*nodes))
    result = await stage.result(run_id)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["message"] == "broken"
    assert undone == ["flight", "hotel", "car"]
    types = await stage.types(run_id)
    assert types.count("compensation.started") == 3
    assert types[-2:] == ["run.compensated", "run.failed"]


@pytest.mark.parametrize("policy", ["fail_fast", "continue"])
async def test_a_compensation_that_fails_stops_no_other(stage: Stage, policy: str) -> None:
    undone: list[str] = []

    async def undo(value: object) -> None:
        undone.append(str(value))
        if value == "b":
            raise RuntimeError("cannot be undone")

    def fail() -> None:
        raise RuntimeError("broken")

    stage.worker({"undo": undo, "fail": fail})
    stage.supervisor()
    nodes: list[dict[str, object]] = [
        {"id": "a", "type": "echo", "config": {"value": "a"}, "compensate": "no_a"},
        {"id": "no_a", "type": "function", "config": {"handler": "undo"}},
        {"id": "b", "type": "echo", "config": {"value": "b"}, "compensate": "no_b", "depends_on": "a"},
        {"id": "no_b", "type": "function", "config": {"handler": "undo"}, "max_retries": 0},
        {"id": "c", "type": "function", "config": {"handler": "fail"}, "depends_on": "b", "max_retries": 0},
    ]
    run_id = await stage.client.submit(await stage.register(*nodes, policy={"on_failure": policy}))
    result = await stage.result(run_id)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["message"] == "broken", "the first failure is the run's"
    assert undone == ["b", "a"]

"""A worker runs handlers of every kind, stops in order, gives back what it cannot do, and survives what it is given."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import msgspec
import pytest

from courante.compiler.ir import IR_VERSION
from courante.runner.attempts import STARTED_AFTER_S
from courante.sdk.authoring.context import Context
from integration.heads import head_of
from integration.stage import PATIENCE_S, Stage, until

pytestmark = pytest.mark.anyio


def step(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


async def double(value: dict[str, int]) -> dict[str, int]:
    return {"n": value["n"] * 2}


def describe(value: object, context: Context) -> dict[str, object]:
    context.heartbeat({"seen": value})
    attempts = [context.attempt, context.max_attempts]
    return {"input": value, "key": context.idempotency_key, "attempts": attempts, "token": context.defer().token}


OUTPUT = "{'b': steps.b.output, 'c': steps.c.output, 'd': steps.d.output}"


def nothing() -> None:
    """Takes nothing, gives nothing."""


async def test_handlers_of_every_kind(stage: Stage) -> None:
    """Async and plain handlers with no, one or two arguments get the input and the context, and give the output."""
    stage.worker({"double": double, "shop.describe": describe, "nothing": nothing})
    stage.supervisor()
    described = step("b", "shop.describe", "a", retry={"max_attempts": 5})
    nodes = [step("a", "double"), described, step("c", "nothing", "b"), step("d", "double", "a")]
    done = await stage.run(await stage.register(*nodes, output=OUTPUT), {"n": 4})
    assert done.output["d"] == {"n": 16}
    key = f"{done.run_id}/b"
    token = f"{done.run_id}~1~1"
    assert done.output["b"] == {"input": {"n": 8}, "key": key, "attempts": [1, 5], "token": token}
    assert done.output["c"] is None


async def test_plain_handlers_do_not_hold_each_other(stage: Stage) -> None:
    """Sixty plain handlers that wait for each other run at the same time, each in a thread."""
    meeting = threading.Barrier(60)
    stage.worker({"meet": lambda: meeting.wait(10)})
    stage.supervisor()
    done = await stage.run(await stage.register(*(step(f"n{number}", "meet") for number in range(60))))
    assert sorted(done.output.values()) == list(range(60))


async def test_a_worker_that_is_told_to_stop_finishes_what_it_holds(stage: Stage) -> None:
    """F16: it takes no more, the step that runs is finished and recorded once, and no entry or consumer is left."""
    entered, leave = anyio.Event(), anyio.Event()

    async def slow() -> str:
        entered.set()
        await leave.wait()
        return "done"

    worker = stage.worker({"slow": slow}, concurrency=1)
    stage.supervisor()
    workflow = await stage.register(step("s", "slow"))
    first, second = await stage.client.submit(workflow), await stage.client.submit(workflow)
    await entered.wait()
    worker.stop()
    keys = stage.client.keys.partition(0)
    leave.set()
    await stage.ends[0].wait()
    assert (await stage.result(first)).output == {"s": "done"}
    assert await stage.succeeded(first) == ["s"]
    assert (await stage.client.result(second)).status == "RUNNING"
    assert await stage.pending() == {}
    for stream in await stage.redis.keys(keys.queue("*")):
        assert await stage.redis.xinfo_consumers(stream, "workers") == []
    assert await stage.redis.exists(keys.worker(worker.name)) == 0
    stage.worker({"slow": slow})
    assert (await stage.result(second)).output == {"s": "done"}


async def test_a_worker_that_is_killed_waits_for_no_handler(stage: Stage) -> None:
    """Neither an async handler nor a plain one in a thread keeps a killed worker."""
    entered = anyio.Semaphore(0)
    leave = threading.Event()

    async def asleep() -> None:
        entered.release()
        await anyio.sleep_forever()

    def blocked() -> None:
        anyio.from_thread.run_sync(entered.release)
        leave.wait()

    worker = stage.worker({"asleep": asleep, "blocked": blocked})
    stage.supervisor()
    await stage.client.submit(await stage.register(step("a", "asleep"), step("b", "blocked")))
    await entered.acquire()
    await entered.acquire()
    worker.kill()
    try:
        with anyio.fail_after(PATIENCE_S):
            await stage.ends[0].wait()
    finally:
        leave.set()
    assert sum((await stage.pending()).values()) == 2


async def test_a_worker_can_be_stopped_before_it_has_begun(stage: Stage) -> None:
    """Neither a worker that was told to stop at once, nor one whose partition never opened, goes on."""
    early = stage.worker()
    early.stop()
    await stage.ends[0].wait()
    assert early.applied == 0
    meta = stage.client.keys.partition(0).meta
    fields = await stage.redis.hgetall(meta)
    await stage.redis.delete(meta)
    waiting = stage.worker()
    await anyio.lowlevel.checkpoint()
    waiting.stop()
    with anyio.fail_after(5):
        await stage.ends[1].wait()
    await stage.redis.hset(meta, mapping={name.decode(): value for name, value in fields.items()})


async def test_a_handler_that_a_worker_does_not_know_is_left_to_another(stage: Stage) -> None:
    """The run goes on waiting with its token alive, and ends when a worker with the handler comes."""
    stranger = stage.worker()
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(step("a", "double")), {"n": 1})
    run = stage.client.keys.partition(0).run(run_id)

    async def record() -> bytes | None:
        return await stage.redis.hget(run, "t0")

    await until(record, lambda record: record is not None and b"|g|" in record)
    assert (await stage.client.result(run_id)).status == "RUNNING"
    assert (await head_of(stage.redis, run)).counter == 1
    stage.worker({"double": double})
    assert (await stage.result(run_id)).output == {"a": {"n": 2}}
    assert await stage.types(run_id) == ["run.started", "step.succeeded", "run.completed"]
    assert stranger.refused == 0


@pytest.mark.parametrize("is_newer", [False, True])
async def test_an_ir_that_a_worker_cannot_read_is_given_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, is_newer: bool
) -> None:
    """F18: a token of a run whose IR cannot be read or is of a newer version waits, and the other runs do not."""
    monkeypatch.setattr("courante.runner.execution.MISSING_DELAY_MS", 50)
    stage.worker()
    stage.supervisor()
    workflow = await stage.register({"id": "a", "type": "noop"})
    good = await stage.run(workflow, 0)
    other = await stage.register({"id": "b", "type": "noop"}, id="other")
    async with stage.client.pool.acquire() as conn:
        resolved = await stage.client.catalog.resolve(conn, other, None)
    place = stage.client.keys.ir(resolved.plan.hash)
    content = await stage.redis.get(place)
    assert content is not None
    newer = msgspec.json.encode(msgspec.json.decode(content) | {"ir_version": IR_VERSION + 1})
    await stage.redis.set(place, newer if is_newer else b"{}")
    run_id = await stage.client.submit(other, 1)
    run = stage.client.keys.partition(0).run(run_id)
    await until(lambda: stage.redis.hget(run, "t0"), lambda record: record is not None and b"|g|" in record)
    assert (await stage.run(workflow, 2)).status == good.status == "COMPLETED"
    await stage.redis.set(place, content)
    assert (await stage.result(run_id)).output == {"b": 1}


async def test_a_long_step_says_that_it_has_started(stage: Stage) -> None:
    """An attempt of more than 100 ms has its start in the log before its end, a shorter one only its end."""
    leave = anyio.Event()
    stage.worker({"long": leave.wait})
    stage.supervisor()
    nodes = [step("long", "long"), {"id": "short", "type": "sleep", "config": {"for": "1ms"}}]
    run_id = await stage.client.submit(await stage.register(*nodes))
    await until(lambda: stage.types(run_id), lambda types: {"step.started", "step.succeeded"} <= set(types))
    leave.set()
    await stage.result(run_id)
    events = await stage.events(run_id)
    order = [(event.facts.type, event.facts.node) for event in events]
    assert order.index(("step.started", "long")) < order.index(("step.succeeded", "long"))
    took = {event.facts.node: event.facts.ms for event in events if event.facts.type == "step.succeeded"}
    started = [node for kind, node in order if kind == "step.started"]
    assert len(set(started)) == len(started)
    assert all(took[node] >= 1_000 * STARTED_AFTER_S for node in started), took


async def test_the_call_that_hands_steps_in_brings_the_next_ones(stage: Stage) -> None:
    """Four slots, so 75 calls for 300 steps that end together; a read beside them would cost as many again."""
    meeting = asyncio.Barrier(4)
    worker = stage.worker({"meet": meeting.wait}, concurrency=4)
    stage.supervisor()
    workflow = await stage.register(*(step(f"s{n}", "meet") for n in range(300)))
    await stage.run(workflow)
    before = worker.calls
    await stage.run(workflow)
    assert worker.calls - before < 120

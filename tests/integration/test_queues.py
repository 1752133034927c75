"""Which worker is given a step, and in what order: queues and priorities."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import pytest

from integration.gauge import Gauge
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
PRIORITIES = ("low", "normal", "high")


def works(id: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    made = {"id": id, "type": "function", "config": {"handler": "work"}, "input": "input", **fields}
    return made | ({"depends_on": list(depends_on)} if depends_on else {})


async def queued(stage: Stage) -> dict[str, int]:
    """How many entries stand in the streams of steps, by queue and priority; those with none are left out."""
    base, found = stage.client.keys.partition(0).queue(""), dict[str, int]()
    async for key in stage.redis.scan_iter(match=f"{base}*"):
        name = key.decode().removeprefix(base)
        if not name.startswith("system") and (length := await stage.redis.xlen(key)):
            found[name] = length
    return found


async def test_a_higher_priority_is_begun_first_and_each_in_the_order_of_its_coming(stage: Stage) -> None:
    """A worker with one slot is busy meanwhile; what it holds is not interrupted."""
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work}, concurrency=1)
    for priority in PRIORITIES:
        await stage.register(works("a", priority=priority), id=priority)
    ids = [await stage.client.submit("low", "first")]

    async def inside() -> int:
        return gauge.inside

    await until(inside, partial(operator.eq, 1))
    for number in range(3):
        ids += [await stage.client.submit(priority, f"{priority} {number}") for priority in PRIORITIES]
    await until(
        partial(queued, stage), partial(operator.eq, {"default:low": 4, "default:normal": 3, "default:high": 3})
    )
    gauge.gate.set()
    assert {result.status for result in await stage.results(ids)} == {"COMPLETED"}
    wanted = [f"{priority} {number}" for priority in reversed(PRIORITIES) for number in range(3)]
    assert gauge.order == ["first", *wanted]


async def test_a_step_is_done_by_a_worker_of_its_queue_and_by_no_other(stage: Stage) -> None:
    """Also another attempt of it; a queue that nobody reads keeps what it has until somebody does."""
    seen: list[tuple[str, str]] = []

    def handler(worker: str) -> Any:
        async def work(given: str, context: Any) -> str:
            seen.append((worker, context.node))
            if context.attempt == 1:
                raise ConnectionError("once")
            return given

        return work

    stage.supervisor()
    stage.worker({"work": handler("plain")})
    stage.worker({"work": handler("both")}, queues=("gpu", "disk"))
    retry = {"base": "1ms", "jitter": False}
    nodes = [
        works("a", retry=retry),
        works("b", "a", retry=retry, queue="gpu"),
        works("c", "b", retry=retry, queue="disk", priority="low"),
        works("d", "c", retry=retry, queue="tape", priority="high"),
    ]
    run_id = await stage.client.submit(await stage.register(*nodes), "x")
    await until(partial(queued, stage), partial(operator.eq, {"tape:high": 1}))
    assert seen == [(worker, node) for worker, node in [("plain", "a"), ("both", "b"), ("both", "c")] for _ in range(2)]
    stage.worker({"work": handler("late")}, queues=("tape",))
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert seen[6:] == [("late", "d")] * 2

"""How long a token may wait in its queue counts from when it is queued for a handler, and not behind a wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from courante.sdk.authoring.context import Context
from courante.sdk.authoring.deferral import Deferred
from integration.onlooker import agrees, waiting
from integration.stage import Stage, until
from integration.test_audit_timers import rebuild

pytestmark = pytest.mark.anyio
SHORT: dict[str, Any] = {"queue_timeout": "1h"}
CALL = {"type": "function", "config": {"handler": "hand_out"}}


class Desk:
    """A step that hands out its token."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.token = ""

    def hand_out(self, _value: object, context: Context) -> Deferred:
        deferred = context.defer()
        self.token = deferred.token
        return deferred

    async def complete(self, _run_id: str) -> None:
        await self.stage.client.complete(self.token, "done")

    async def approve(self, run_id: str) -> None:
        await self.stage.client.approve(run_id, "a", data="fine")

    async def signal(self, run_id: str) -> None:
        await self.stage.client.signal(run_id, "go", "gone")


async def wait_without_workers(stage: Stage, desk: Desk, node: dict[str, Any]) -> str:
    """A run whose one step waits; nobody is there who could take it."""
    stage.supervisor()
    stage.worker({"hand_out": desk.hand_out})
    run_id = await stage.client.submit(await stage.register({"id": "a", **SHORT, **node}))
    await waiting(stage, run_id, "a")
    stage.workers[0].stop()
    await stage.ends[1].wait()
    return run_id


async def patience(stage: Stage, run_id: str) -> tuple[str, str]:
    """Where the timer stands that ends the waiting of the token as it is queued now, and its name there."""
    partition = stage.client.keys.partition(0)
    record = await stage.redis.hget(partition.run(run_id), "t0")
    assert record is not None
    fence, place, *_ = record.decode().split("|")
    assert place == "q"
    return partition.timers, f"{run_id}|!queue/0|{fence}"


@pytest.mark.parametrize("is_rebuilt", [False, True])
@pytest.mark.parametrize(
    ("node", "release"),
    [
        (CALL, Desk.complete),
        ({"type": "approval"}, Desk.approve),
        ({"type": "signal", "config": {"name": "go"}}, Desk.signal),
        ({**CALL, "requires_approval": True}, None),
    ],
    ids=["handed out", "approval", "signal", "gate"],
)
async def test_what_was_waited_for_is_there(
    stage: Stage, node: dict[str, Any], release: Callable[[Desk, str], Awaitable[None]] | None, is_rebuilt: bool
) -> None:
    """Nobody reads it in time, and it is not lost; a step that was only allowed has its time from then on."""
    desk = Desk(stage)
    run_id = await wait_without_workers(stage, desk, node)
    await (release or Desk.approve)(desk, run_id)
    await until(lambda: stage.types(run_id), lambda types: "token.released" in types)
    if is_rebuilt:
        await rebuild(stage)
    assert (await stage.redis.zscore(*await patience(stage, run_id)) is None) == (release is not None)
    await agrees(stage, run_id)
    if release is not None:
        stage.worker()
        assert (await stage.result(run_id)).status == "COMPLETED"


async def test_a_wait_for_a_time(stage: Stage) -> None:
    """A step that has waited is over, whenever somebody comes by to say so."""
    run_id = await wait_without_workers(stage, Desk(stage), {"type": "wait", "config": {"for": "1h"}})
    partition = stage.client.keys.partition(0)
    timers = await stage.redis.zrange(partition.timers, 0, -1)
    (member,) = [timer for timer in timers if timer.startswith(f"{run_id}|0|".encode())]
    await stage.redis.zadd(partition.timers, {member: 0})
    await until(lambda: stage.types(run_id), lambda types: "timer.released" in types)
    assert await stage.redis.zscore(*await patience(stage, run_id)) is None
    stage.worker()
    assert (await stage.result(run_id)).status == "COMPLETED"


async def test_an_allowed_step_that_nobody_takes(stage: Stage) -> None:
    """From the approval on it has its time, and fails when that is over."""
    run_id = await wait_without_workers(stage, Desk(stage), {**CALL, "requires_approval": True})
    await stage.client.approve(run_id, "a")
    timers, member = await patience(stage, run_id)
    assert await stage.redis.zscore(timers, member) is not None
    await stage.redis.zadd(timers, {member: 0})
    await until(lambda: stage.types(run_id), lambda types: "token.overdue" in types)
    stage.worker()
    result = await stage.result(run_id)
    assert result.error is not None
    assert (result.status, result.error["type"]) == ("FAILED", "QUEUE_TIMEOUT")

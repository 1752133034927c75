"""Whole workflows and queues stand still when they are told to, and go on when they are told to."""

from __future__ import annotations

import anyio
import pytest

from courante.runner import worker
from courante.sdk.errors import InputInvalid, WorkflowNotFound
from courante.sdk.stores.pauses import PauseKind, put_pause
from courante.sdk.stores.runs import get_run
from courante.supervisor import pauses
from integration.cases import node, says, waits
from integration.onlooker import agrees, call_up, waiting
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "LOOK_S", 0.1)
    monkeypatch.setattr(worker, "HEARTBEAT_S", 0.1)


async def status_of_run(stage: Stage, run_id: str) -> str:
    async with stage.client.pool.acquire() as conn:
        return str((await get_run(conn, run_id)).status)


async def paused(stage: Stage, run_id: str) -> None:
    await until(lambda: status_of_run(stage, run_id), lambda status: status == "PAUSED")


async def test_a_workflow_is_paused(stage: Stage) -> None:
    """Its runs stand still, those that live and those that come; one that was paused by itself stays so afterwards."""
    call_up(stage)
    await stage.register(waits("s", name="go"), says("end", "s"))
    await stage.register(says("a"), id="other")
    first, second = [await stage.client.submit("w") for _ in range(2)]
    await waiting(stage, first, "s")
    await waiting(stage, second, "s")
    await stage.client.pause(second)
    await paused(stage, second)
    done = await stage.client.pause_workflow("w", "too many", by="ada")
    assert (done.state, done.runs) == ("applied", 1)
    assert (await stage.client.pause_workflow("w")).state == "no_effect"
    third = await stage.client.submit("w")
    for run_id in (first, third):
        await paused(stage, run_id)
        await stage.client.signal(run_id, "go")
        await agrees(stage, run_id)
    assert (await stage.run("other")).status == "COMPLETED"
    (told,) = await stage.client.pausing.list()
    assert (told.kind, told.name, told.by, told.reason) == (PauseKind.WORKFLOW, "w", "ada", "too many")
    assert (await stage.client.resume_workflow("w", by="bob")).runs == 2
    for run_id in (first, third):
        assert (await stage.result(run_id)).status == "COMPLETED"
        await agrees(stage, run_id)
    assert await status_of_run(stage, second) == "PAUSED"
    await stage.client.signal(second, "go")
    await stage.client.resume(second)
    assert (await stage.result(second)).status == "COMPLETED"
    assert await stage.client.pausing.list() == []


async def test_a_run_of_a_paused_workflow_may_go_on_by_itself(stage: Stage) -> None:
    """Who resumes one run of a paused workflow means it: nobody pauses that run again."""
    call_up(stage)
    await stage.register(says("a"))
    await stage.client.pause_workflow("w")
    run_id = await stage.client.submit("w")
    await stage.client.resume(run_id)
    assert (await stage.result(run_id)).status == "COMPLETED"


async def test_runs_that_were_not_told_are_told_by_a_supervisor(stage: Stage) -> None:
    """Who paused a workflow and died before its runs were told has paused it."""
    stage.worker()
    supervisor = stage.supervisor()
    await stage.register(waits("s", name="go"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "s")
    async with stage.client.pool.acquire() as conn:
        assert await put_pause(conn, stage.place.env, PauseKind.WORKFLOW, "w", by="ada", reason="")
    await paused(stage, run_id)
    (applied,) = [event for event in await stage.events(run_id) if event.facts.type == "command.applied"]
    assert applied.facts.data == {"number": 2, "type": "pause", "by": "ada", "name": "w"}
    assert supervisor is stage.supervisors[0]
    await agrees(stage, run_id)


async def test_a_queue_is_paused(stage: Stage) -> None:
    """A worker reads a paused queue no more, and all others; what stands in it is done when it is resumed."""
    await stage.register(node("a"), node("b", "a", queue="slow"))
    stage.supervisor()
    assert (await stage.client.pause_queue("slow", by="ada")).state == "applied"
    assert (await stage.client.pause_queue("slow")).state == "no_effect"
    stage.worker(queues=("default", "slow"))
    run_id = await stage.client.submit("w")
    await until(lambda: stage.succeeded(run_id), lambda steps: steps == ["a"])
    keys = stage.client.keys.partition(0)
    await anyio.sleep(0.3)  # long enough to be read, were it read
    assert await stage.redis.xlen(keys.queue("slow:normal")) == 1
    assert await stage.pending() == {}
    await stage.redis.delete(keys.paused)

    async def named() -> set[bytes]:
        return set(await stage.redis.smembers(keys.paused))

    await until(named, lambda names: names == {b"slow"})
    assert (await stage.client.resume_queue("slow")).state == "applied"
    assert (await stage.result(run_id)).status == "COMPLETED"
    await agrees(stage, run_id)


async def test_what_cannot_be_paused(stage: Stage) -> None:
    with pytest.raises(WorkflowNotFound):
        await stage.client.pause_workflow("nobody")
    with pytest.raises(InputInvalid, match="'system' cannot be paused"):
        await stage.client.pause_queue("system")
    assert (await stage.client.resume_queue("any")).state == "no_effect"

"""What people ask of runs that go on: it takes effect once, the first decision stands, and the log says all of it."""

from __future__ import annotations

import anyio
import pytest

from courante.sdk.authoring.context import Context
from courante.sdk.authoring.deferral import Deferred
from courante.sdk.errors import AlreadyDecided, InputInvalid, NothingWaits, RunNotFound, StepNotFound, StepUnclear
from courante.sdk.stores.runs import get_run
from integration.cases import node, says, waits
from integration.onlooker import agrees, asks, call_up, status_of, waiting
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


async def test_an_approval(stage: Stage) -> None:
    """A step goes on with what a person said; who comes second hears who was first, when, and what they said."""
    call_up(stage)
    await stage.register(asks("review", form={"type": "object", "required": ["carrier"]}), says("ship", "review"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "review")
    with pytest.raises(InputInvalid, match="the data do not fit the form of 'review'"):
        await stage.client.approve(run_id, by="ada")
    done = await stage.client.approve(run_id, data={"carrier": "post"}, comment="go", by="ada")
    assert (done.state, done.step, done.number) == ("applied", "review", 2)
    with pytest.raises(AlreadyDecided, match="review was approved by ada at 20") as told:
        await stage.client.reject(run_id, by="bob")
    assert (told.value.decision, told.value.by) == ("approve", "ada")
    assert (await stage.result(run_id)).output == {"ship": "ship"}
    events = await stage.events(run_id)
    (applied,) = [event for event in events if event.facts.type == "command.applied"]
    assert applied.facts.data == {"number": 2, "type": "approve", "by": "ada", "name": "!approval/0", "asked": True}
    assert (applied.facts.node, b"carrier" in (applied.payload or b"")) == ("review", True)
    with pytest.raises(AlreadyDecided):
        await stage.client.approve(run_id, "review", data={"carrier": "me"})
    await agrees(stage, run_id)


async def test_a_rejection(stage: Stage) -> None:
    """A rejected step has failed, and says by whom and why."""
    call_up(stage)
    await stage.register(node("ship", requires_approval=True, on_error="refuse"), says("refuse"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "ship")
    await stage.client.reject(run_id, reason="too dear", by="ada")
    assert (await stage.result(run_id)).output == {"refuse": "refuse"}
    (failed,) = [event.facts for event in await stage.events(run_id) if event.facts.type == "step.failed"]
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("REJECTED", "rejected by ada: too dear")
    await agrees(stage, run_id)


async def test_fifty_decide_at_once(stage: Stage) -> None:
    """F65: of 50 approvals and rejections at the same time one stands; the others hear of it."""
    call_up(stage)
    await stage.register(asks("review"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "review")
    told: list[str] = []
    won: list[str] = []

    async def decide(number: int) -> None:
        decide = stage.client.approve if number % 2 else stage.client.reject
        try:
            won.append((await decide(run_id, by=f"p{number}")).state)
        except AlreadyDecided as error:
            told.append(f"{error.by}")

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(decide, number)
    assert won == ["applied"]
    assert len(told) == 49
    assert len(set(told)) == 1
    result = await stage.result(run_id)
    assert result.status == ("COMPLETED" if int(told[0][1:]) % 2 else "FAILED")
    await agrees(stage, run_id)


async def test_an_approval_that_comes_too_late(stage: Stage) -> None:
    """F65: after its time a step waits for nobody."""
    call_up(stage)
    await stage.register(asks("review", expires="20ms"), says("rest", "review"), policy={"on_failure": "continue"})
    run_id = await stage.client.submit("w")
    result = await stage.result(run_id)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["type"] == "APPROVAL_EXPIRED"
    with pytest.raises(NothingWaits, match=r"review waits for no decision any more: it is FAILED \(APPROVAL_EXPIRED\)"):
        await stage.client.approve(run_id, "review")
    with pytest.raises(NothingWaits):
        await stage.client.approve(run_id)
    await agrees(stage, run_id)


async def test_decisions_and_signals_that_come_early(stage: Stage) -> None:
    """F66: what comes before its step is kept for it, in order."""
    stage.supervisor()
    await stage.register(
        waits("first", name="go"), asks("review", "first"), waits("second", "review", name="go"), says("end", "second")
    )
    run_id = await stage.client.submit("w")
    for number in (1, 2):
        assert (await stage.client.signal(run_id, "go", {"n": number}, by="ada")).state == "applied"
    assert (await stage.client.approve(run_id, by="ada")).state == "applied"
    stage.worker()
    assert (await stage.result(run_id)).status == "COMPLETED"
    outputs = {e.facts.node: e.payload for e in await stage.events(run_id) if e.facts.type == "step.succeeded"}
    assert (outputs["first"], outputs["second"]) == (b'{"n":1}', b'{"n":2}')
    await agrees(stage, run_id)


async def test_which_step_is_meant(stage: Stage) -> None:
    """Where several wait, one has to be named; where none does, that is said."""
    call_up(stage)
    await stage.register(asks("a"), asks("b"), says("c"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "a")
    await waiting(stage, run_id, "b")
    with pytest.raises(StepUnclear, match="2 steps wait for a decision: a, b"):
        await stage.client.approve(run_id)
    with pytest.raises(StepNotFound, match="no step 'bb'"):
        await stage.client.approve(run_id, "bb")
    with pytest.raises(InputInvalid, match="asks nobody"):
        await stage.client.approve(run_id, "c")
    with pytest.raises(InputInvalid, match="no step of 'w' waits for a signal 'x'"):
        await stage.client.signal(run_id, "x")
    with pytest.raises(RunNotFound):
        await stage.client.cancel("run_nobody")
    await stage.client.approve(run_id, "a")
    await until(lambda: status_of(stage, run_id, "a"), lambda status: status == "SUCCEEDED")
    await stage.client.approve(run_id)
    assert (await stage.result(run_id)).status == "COMPLETED"
    await agrees(stage, run_id)


async def test_a_cancel(stage: Stage) -> None:
    """F64: a run is cancelled once; who asks again gets the same answer."""
    call_up(stage)
    await stage.register(node("slow", type="wait", config={"for": "1h"}), says("after", "slow"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "slow")
    first = await stage.client.cancel(run_id, "not needed", by="ada")
    assert (first.state, first.number) == ("applied", 2)
    again = await stage.client.cancel(run_id, by="bob")
    assert again.state in ("applied", "no_effect")
    result = await stage.result(run_id)
    assert result.status == "CANCELLED"
    assert (await stage.client.cancel(run_id)).reason == "the run is CANCELLED"
    assert (await stage.types(run_id)).count("command.applied") == 1
    await agrees(stage, run_id)


async def test_a_cancel_before_the_start(stage: Stage) -> None:
    """A cancel never overtakes its start: it is applied after it, by number."""
    await stage.register(says("a"))
    keys = stage.client.keys.partition(0)
    epoch = await stage.redis.hget(keys.meta, "epoch")
    await stage.redis.delete(keys.meta)
    run_id = await stage.client.submit("w")
    assert (await stage.client.cancel(run_id)).state == "accepted"
    await stage.redis.hset(keys.meta, "epoch", epoch)
    stage.supervisor()
    types = await until(lambda: stage.types(run_id), lambda types: "command.applied" in types)
    assert types[0] == "run.started"
    stage.worker()
    assert (await stage.result(run_id)).status == "CANCELLED"
    await agrees(stage, run_id)


async def test_a_pause(stage: Stage) -> None:
    """A paused run hands out nothing until it goes on; what was queued and what came due is not lost."""
    stage.supervisor()
    await stage.register(
        node("nap", type="wait", config={"for": "50ms"}), says("a"), says("b", "a", "nap"), waits("s", name="go")
    )
    run_id = await stage.client.submit("w")
    assert (await stage.client.pause(run_id, by="ada")).state == "applied"
    assert (await stage.client.pause(run_id, by="ada")).state == "no_effect"
    stage.worker()
    await until(lambda: stage.types(run_id), lambda types: types.count("command.applied") == 2)
    async with stage.client.pool.acquire() as conn:
        assert (await get_run(conn, run_id)).status == "PAUSED"
    await stage.client.signal(run_id, "go")
    await agrees(stage, run_id)
    assert await stage.succeeded(run_id) == []
    assert (await stage.client.resume(run_id)).state == "applied"
    assert (await stage.result(run_id)).status == "COMPLETED"
    await agrees(stage, run_id)


async def test_a_cancel_of_a_paused_run(stage: Stage) -> None:
    call_up(stage)
    await stage.register(waits("s", name="go"), says("b", "s"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "s")
    await stage.client.pause(run_id)
    await stage.client.cancel(run_id)
    assert (await stage.result(run_id)).status == "CANCELLED"
    await agrees(stage, run_id)


async def test_steps_are_forced_and_withdrawn(stage: Stage) -> None:
    """An operator says how a step ends that waits; a step that is withdrawn leaves its ways dead."""
    call_up(stage)
    await stage.register(
        waits("a", name="x"), waits("b", name="x"), waits("c", name="x"), says("d", "a", "b", "c", join="any")
    )
    run_id = await stage.client.submit("w")
    for step in "abc":
        await waiting(stage, run_id, step)
    await stage.client.cancel_step(run_id, "a", by="ada")
    await stage.client.force_skip(run_id, "b", reason="lost", by="ada")
    await stage.client.force_succeed(run_id, "c", {"n": 1}, reason="by hand", by="ada")
    result = await stage.result(run_id)
    assert result.output == {"d": "d"}
    assert [await status_of(stage, run_id, step) for step in "bcd"] == ["SKIPPED", "SUCCEEDED", "SUCCEEDED"]
    assert (await stage.client.force_skip(run_id, "b")).state == "no_effect"
    await agrees(stage, run_id)


async def test_a_step_that_is_handed_out(stage: Stage) -> None:
    """Who was handed its token ends a step; only the first, and only the attempt that the token is of."""
    tokens: list[str] = []

    def hand_out(_value: object, context: Context) -> Deferred:
        deferred = context.defer()
        tokens.append(deferred.token)
        return deferred

    async def handed() -> int:
        return len(tokens)

    stage.supervisor()
    stage.worker({"hand_out": hand_out})
    call = {"type": "function", "config": {"handler": "hand_out"}}
    await stage.register(
        {"id": "a", **call},
        {"id": "b", "depends_on": "a", "on_error": "c", "retry": {"max_attempts": 2, "base": "1ms"}, **call},
        says("c"),
    )
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "a")
    assert (await stage.client.complete(tokens[0], {"n": 1}, by="ada")).state == "applied"
    with pytest.raises(AlreadyDecided, match="a was completed by ada"):
        await stage.client.fail(tokens[0], "late", by="bob")
    await waiting(stage, run_id, "b")
    assert (await stage.client.fail(tokens[1], "no ink", by="bob")).step == "b"
    await until(handed, lambda count: count == 3)
    await waiting(stage, run_id, "b")
    with pytest.raises(AlreadyDecided, match="b was failed by bob"):
        await stage.client.complete(tokens[1])
    await stage.client.fail(tokens[2], "", by="bob")
    assert (await stage.result(run_id)).output == {"c": "c"}
    (failed,) = [event.facts for event in await stage.events(run_id) if event.facts.type == "step.failed"]
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("FAILED_OUTSIDE", "someone outside says that it has failed")
    with pytest.raises(InputInvalid, match="no token of a deferred step"):
        await stage.client.complete("run_x~1")
    await agrees(stage, run_id)

"""Steps that fail for good are listed, and their runs are started again from where they were before."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from courante.replay import Verification, verify_run
from courante.sdk.errors import InputInvalid, NotRestartable, RunNotFound
from courante.sdk.stores.dead_letters import DeadLetter, Wanted
from courante.sdk.stores.runs import StepRow, get_run, list_steps
from courante.sdk.user_errors import FatalError
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from integration.cases import node, waits
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


class Handlers:
    """Steps that are broken until somebody mends them. ``done``: what was executed, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.is_broken = True
        self.holds: anyio.Event | None = None

    def work(self, given: Any) -> dict[str, Any]:
        self.done.append(str(given["name"]))
        return {"from": given["name"]}

    def breaks(self, given: Any) -> dict[str, Any]:
        self.done.append(str(given["name"]))
        if self.is_broken:
            raise FatalError("the shop is closed")
        return {"from": given["name"]}

    async def holding(self, given: Any) -> dict[str, Any]:
        if self.holds is not None and not self.is_broken:
            await self.holds.wait()
        return self.work(given)

    def steps(self) -> dict[str, Any]:
        return {"work": self.work, "breaks": self.breaks, "holding": self.holding}


def step(id: str, *depends_on: str, handler: str = "work", **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="function", config={"handler": handler}, input={"name": f"'{id}'"}, **more)


async def letters(stage: Stage, **wanted: Any) -> list[DeadLetter]:
    return (await stage.client.dead_letters(Wanted(**wanted))).letters


async def verified(stage: Stage, run_id: str) -> Verification:
    async with stage.client.pool.acquire() as conn:
        return await verify_run(conn, stage.place.env, run_id)


async def steps_of(stage: Stage, run_id: str) -> dict[str, StepRow]:
    async with stage.client.pool.acquire() as conn:
        return {row.node: row for row in await list_steps(conn, run_id)}


async def failed(stage: Stage, workflow: str, input: Any = None, **options: Any) -> str:
    run_id = await stage.client.submit(workflow, input, **options)
    assert (await stage.result(run_id)).status == "FAILED"
    return run_id


async def test_only_what_failed_and_what_follows_is_executed_again(stage: Stage) -> None:
    """The new run takes over what was done, names its base run, and its log alone says everything."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(
        step("a"), step("b", "a"), step("c", "a", handler="breaks", max_retries=0), step("d", "b", "c"),
        output="{'said': steps.d.output.from, 'first': steps.a.output.from}",
    )  # fmt: skip
    base = await failed(stage, "w", {"n": 1}, tags=["x"])
    (letter,) = await letters(stage)
    assert (letter.run_id, letter.workflow, letter.node, letter.attempt) == (base, "w", "c", 1)
    assert (letter.state, letter.tags) == ("open", ("x",))
    assert letter.error is not None
    assert (letter.error.type, letter.error.kind) == ("FatalError", "fatal")
    planned = await stage.client.requeue(base, dry_run=True)
    handlers.is_broken, handlers.done = False, []
    done = await stage.client.requeue(base, by="ada")
    assert (msgspec.structs.replace(done, by=None), done.by, done.is_new) == (planned, "ada", True)
    assert ("c" in done.impacted, "d" in done.impacted, "a" in done.reused) == (True, True, True)
    result = await stage.result(done.run_id)
    assert (result.status, result.output) == ("COMPLETED", {"said": "d", "first": "a"})
    assert set(handlers.done) - {"b"} == {"c", "d"}, "b may have been under way"
    async with stage.client.pool.acquire() as conn:
        row = await get_run(conn, done.run_id)
    assert (row.base_run_id, row.trigger, row.by, row.tags) == (base, "requeue", "ada", ("x",))
    first = (await steps_of(stage, done.run_id))["a"]
    assert (first.status, first.reason, first.output_seq) == ("SKIPPED", "reused_from_base_run", 2)
    assert (await verified(stage, done.run_id)).ok, await verified(stage, done.run_id)
    assert await letters(stage) == []
    (closed,) = await letters(stage, is_open=False)
    assert (closed.state, closed.requeued_as) == ("requeued", done.run_id)


async def test_asked_twice_it_is_the_same_run(stage: Stage) -> None:
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(step("a", handler="breaks", max_retries=0))
    base = await failed(stage, "w")
    one = await stage.client.requeue(base)
    other = await stage.client.retry(base)
    assert (other.run_id, one.is_new, other.is_new) == (one.run_id, True, False)
    third = await stage.client.requeue(base, again=True)
    assert third.run_id != one.run_id
    for run_id in (one.run_id, third.run_id):
        assert (await stage.result(run_id)).status == "FAILED"
    assert {letter.run_id for letter in await letters(stage)} == {one.run_id, third.run_id}
    handlers.is_broken = False
    fourth = await stage.client.requeue(one.run_id)
    assert (await stage.result(fourth.run_id)).status == "COMPLETED"
    assert (await verified(stage, fourth.run_id)).ok


async def test_a_run_that_goes_on_survives_an_emptied_redis(stage: Stage) -> None:
    """In the middle of the new run Redis forgets everything: it is rebuilt from its own log, and ends."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(
        step("a"),
        step("w", handler="holding"),
        waits("s", "a", name="go"),
        step("c", "a", handler="breaks", max_retries=0),
        step("z", "w", "s", "c"),
        output="{'all': [steps.a.output.from, steps.z.output.from]}",
    )
    base = await failed(stage, "w")
    handlers.is_broken, handlers.holds = False, anyio.Event()
    again = await stage.client.requeue(base)
    await until(lambda: stage.types(again.run_id), lambda types: "step.succeeded" in types)
    await stage.redis.flushall()
    await stage.client.signal(again.run_id, "go", 1)
    handlers.holds.set()
    result = await stage.result(again.run_id)
    assert (result.status, result.output) == ("COMPLETED", {"all": ["a", "z"]})
    assert (await verified(stage, again.run_id)).ok, await verified(stage, again.run_id)


async def test_a_poisoned_step_is_a_dead_letter_and_decisions_stay(stage: Stage) -> None:
    """A step that ended its workers fails with POISONED; who had approved before is not asked again."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps(), deliveries_max=0)
    await stage.register(step("p", handler="breaks", requires_approval=True, max_retries=0), step("q", "p"))
    base = await stage.client.submit("w")
    await stage.client.approve(base, "p", by="ada")
    assert (await stage.result(base)).status == "FAILED"
    (letter,) = await letters(stage, error="POISONED")
    assert (letter.run_id, letter.node, handlers.done) == (base, "p", [])


async def test_what_was_undone_is_refused_and_what_was_dropped_stays_so(stage: Stage) -> None:
    """Compensated runs have nothing to go on from. A rebuild of the projections knows what was dealt with."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(
        step("a", compensate="u"), step("b", "a", handler="breaks", max_retries=0), step("u"), step("c")
    )
    base = await failed(stage, "w")
    with pytest.raises(NotRestartable, match="undone") as found:
        await stage.client.requeue(base)
    assert found.value.reason == "undone"
    (letter,) = await letters(stage, workflow="w")
    assert await stage.client.drop_dead_letters([letter], "by hand", by="ada") == ([(base, "b", "")], "ada")
    assert await stage.client.drop_dead_letters([letter], "again", by="bob") == ([], "bob")
    async with stage.client.pool.acquire() as conn:
        await rebuild_projections(conn, stage.place.env)
    assert await letters(stage) == []
    (kept,) = await letters(stage, is_open=False)
    assert (kept.state, kept.dropped_by, kept.drop_reason) == ("dropped", "ada", "by hand")
    with pytest.raises(RunNotFound):
        await stage.client.requeue("run_nobody")
    with pytest.raises(InputInvalid):
        await stage.client.dead_letters(Wanted(), limit=0)

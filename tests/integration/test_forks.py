"""Runs are forked at their events, on real servers: each fork ends as the run did, and its log is verified."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.errors import InputInvalid, NotRestartable, StepNotFound
from courante.sdk.stores.runs import get_run
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from integration.cases import chooses, node, waits
from integration.stage import Stage, until
from integration.test_dead_letters import Handlers, letters, step, steps_of, verified

pytestmark = pytest.mark.anyio


def rich() -> list[dict[str, Any]]:
    """A choice, a loop, a map with a window, a join of two ways."""
    return [
        step("a"),
        chooses("k", "a", rules={"input.way == 'b'": ["b"]}, default=["c"]),
        step("b"),
        step("c"),
        node("m", "a", type="map", config={"items": "[1, 2, 3]", "max_concurrency": 2}),
        step("i", "m"),
        node("g", "i", type="aggregate", config={"policy": "all"}),
        step("l", handler="again", loop={"back_to": "l", "while": "loop.iteration < 2", "max_iterations": 3}),
        step("z", "b", "c", "g", "l"),
    ]


OUTPUT = "{'said': steps.z.output.from, 'items': steps.g.output, 'loop': steps.l.output.from}"


def again(_given: Any) -> dict[str, Any]:
    return {"from": "l"}


async def forked_everywhere(stage: Stage, base: str) -> list[str]:
    """A fork for every place where the run can be cut; asked for by every event."""
    places: dict[int, str] = {}
    for seq in range(1, len(await stage.events(base)) + 1):
        done = await stage.client.fork(base, seq)
        assert done.base_run_id == base
        assert done.base_seq <= seq or len(places) <= 1, "only the first transition may end later"
        assert places.setdefault(done.base_seq, done.run_id) == done.run_id, "the same place is the same fork"
    return list(places.values())


async def test_a_run_that_completed_is_forked_at_every_event(stage: Stage) -> None:
    stage.supervisor()
    stage.worker(Handlers().steps() | {"again": again})
    await stage.register(*rich(), output=OUTPUT)
    base = await stage.client.submit("w", {"way": "b"}, tags=["x"])
    wanted = await stage.result(base)
    assert wanted.status == "COMPLETED", wanted
    forks = await forked_everywhere(stage, base)
    assert len(forks) > 12
    for run_id in forks:
        found = await stage.result(run_id)
        assert (found.status, found.output) == ("COMPLETED", wanted.output)
        assert (await verified(stage, run_id)).ok, await verified(stage, run_id)
    async with stage.client.pool.acquire() as conn:
        row = await get_run(conn, forks[-1])
    assert (row.trigger, row.base_run_id, row.tags) == ("fork", base, ("x",))
    assert [event.facts.node for event in await stage.events(forks[-1]) if event.facts.type == "step.succeeded"] == []
    below = await stage.client.fork(forks[len(forks) // 2], 3)
    assert below.base_seq > 3, "all that a fork begins with is one"
    assert (await stage.result(below.run_id)).output == wanted.output
    assert (await verified(stage, below.run_id)).ok


async def test_a_run_that_failed_and_was_undone_is_forked_at_every_event(stage: Stage) -> None:
    """Also while it drains, and while it undoes what it did: the fork ends so, and undoes what is left."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(
        step("a", compensate="undo_a"), step("b", "a", compensate="undo_b"), waits("s", "a", name="go"),
        step("c", "b", handler="breaks", max_retries=0), step("undo_a"), step("undo_b"),
    )  # fmt: skip
    base = await stage.client.submit("w")
    assert (await stage.result(base)).status == "FAILED"
    forks = await forked_everywhere(stage, base)
    async with stage.client.pool.acquire() as conn:
        await rebuild_projections(conn, stage.place.env)
    (letter,) = [letter for letter in await letters(stage) if letter.run_id == base]
    assert (letter.state, letter.requeued_as) == ("open", None), "a fork is another run"
    for run_id in forks:
        found = await stage.result(run_id)
        assert (found.status, found.error) == ("FAILED", (await stage.result(base)).error)
        assert (await verified(stage, run_id)).ok, await verified(stage, run_id)


async def test_a_run_that_goes_on_is_forked_with_another_input(stage: Stage) -> None:
    """What waits in it waits in the fork too; the input is another one from there on, and fits the schema."""
    stage.supervisor()
    stage.worker(Handlers().steps())
    schema = {"type": "object", "properties": {"way": {"type": "string"}}, "required": ["way"]}
    await stage.register(
        step("a"),
        waits("s", "a", name="go"),
        node("t", "s", type="transform", config={"expression": "input.way"}),
        output="steps.t.output",
        input=schema,
    )
    base = await stage.client.submit("w", {"way": "one"})
    await until(lambda: stage.types(base), lambda types: "timer.set" in types)
    last = len(await stage.events(base))
    planned = await stage.client.fork(base, last, input={"way": "two"}, dry_run=True)
    assert (planned.impacted, planned.reused, planned.is_new) == (("s", "t"), ("a",), True)
    other = await stage.client.fork(base, last, input={"way": "two"})
    same = await stage.client.fork(base, last)
    assert len({other.run_id, same.run_id, planned.run_id}) == 2
    for run_id in (base, other.run_id, same.run_id):
        await stage.client.signal(run_id, "go")
    assert [(await stage.result(run_id)).output for run_id in (base, other.run_id, same.run_id)] == [
        "one", "two", "one",
    ]  # fmt: skip
    assert (await verified(stage, other.run_id)).ok
    with pytest.raises(InputInvalid, match="way"):
        await stage.client.fork(base, last, input={})
    with pytest.raises(NotRestartable, match="no event 999"):
        await stage.client.fork(base, 999)
    with pytest.raises(InputInvalid, match="begin at 1"):
        await stage.client.fork(base, 0)


async def test_an_output_is_given_in_the_place_of_a_step(stage: Stage) -> None:
    """What depends on it begins anew, by the ways that it leads to; what does not is taken over."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(
        step("a"),
        chooses("k", "a", rules={"steps.a.output.from == 'a'": ["b"]}, default=["c"]),
        step("b"), step("c"), step("z", "b", "c"), step("x"),
        output="{'b': steps.b.status, 'c': steps.c.status, 'a': steps.a.output, 'x': steps.x.output}",
    )  # fmt: skip
    base = await stage.client.submit("w")
    assert (await stage.result(base)).output["b"] == "SUCCEEDED"
    last = len(await stage.events(base))
    handlers.done.clear()
    value = {"from": "me", "long": "x" * 20_000}
    planned = await stage.client.fork(base, last, override={"a": value}, dry_run=True)
    assert (planned.impacted, sorted(planned.reused), planned.given) == (("k", "b", "c", "z"), ["a", "x"], ("a",))
    done = await stage.client.fork(base, last, override={"a": value})
    assert done.run_id == planned.run_id
    result = await stage.result(done.run_id)
    assert (result.status, handlers.done) == ("COMPLETED", ["c", "z"])
    assert result.output == {"b": "SKIPPED", "c": "SUCCEEDED", "a": value, "x": {"from": "x"}}
    assert (await verified(stage, done.run_id)).ok, await verified(stage, done.run_id)
    first = (await steps_of(stage, done.run_id))["a"]
    assert (first.status, first.reason) == ("SKIPPED", "given")
    with pytest.raises(NotRestartable, match="does not lead to z"):
        await stage.client.fork(base, last, override={"a": 1, "z": 7}, dry_run=True)


async def test_an_output_is_given_for_a_step_that_has_not_ended(stage: Stage) -> None:
    """One that lives ends with it instead of being executed, one that failed has succeeded; else it says since when."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(
        step("a"), waits("s", "a", name="go"), step("c", "s", handler="breaks", max_retries=0), step("z", "c"),
        output="{'s': steps.s.output, 'c': steps.c.output}",
    )  # fmt: skip
    base = await stage.client.submit("w")
    types = await until(lambda: stage.types(base), lambda types: "timer.set" in types)
    waited = len(types)
    done = await stage.client.fork(base, waited, override={"s": 5})
    assert (done.impacted, done.reused) == (("c", "z"), ("a", "s"))
    assert (await stage.result(done.run_id)).status == "FAILED"
    last = len(await stage.events(done.run_id))
    mended = await stage.client.fork(done.run_id, last, override={"c": "mended"})
    assert (mended.impacted, mended.reused) == (("z",), ("a", "s", "c"))
    result = await stage.result(mended.run_id)
    assert (result.status, result.output) == ("COMPLETED", {"s": 5, "c": "mended"})
    assert (await verified(stage, mended.run_id)).ok, await verified(stage, mended.run_id)
    with pytest.raises(NotRestartable, match="does not lead to c"):
        await stage.client.fork(base, waited, override={"c": 1})
    await stage.client.signal(base, "go", 1)
    assert (await stage.result(base)).status == "FAILED"
    with pytest.raises(NotRestartable, match=r"c has not begun at event \d+ of \S+: it begins with event \d+"):
        await stage.client.fork(base, waited, override={"c": 1})
    with pytest.raises(StepNotFound, match="has no step 'cc'"):
        await stage.client.fork(base, waited, override={"cc": 1})
    with pytest.raises(InputInvalid, match="override a"):
        await stage.client.fork(base, waited, override={"a": {1}})


async def test_an_output_is_given_in_a_loop_and_in_a_map(stage: Stage) -> None:
    """To the last iteration, or to one that is named: those before it stay. Of other items nothing is done again."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps() | {"again": again})
    await stage.register(*rich(), output=OUTPUT)
    base = await stage.client.submit("w", {"way": "b"})
    wanted = (await stage.result(base)).output
    last = len(await stage.events(base))
    handlers.done.clear()
    done = await stage.client.fork(base, last, override={"l": {"from": "me"}})
    result = await stage.result(done.run_id)
    assert (result.output, handlers.done) == (wanted | {"loop": "me"}, ["z"])
    assert (done.given[0][:2], (await verified(stage, done.run_id)).ok) == ("l[", True)
    handlers.done.clear()
    early = await stage.client.fork(base, last, override={"l[l#1]": {"from": "me"}, "i[m[1]]": {"from": "item"}})
    assert early.given == ("l[l#1]", "i[m[1]]")
    result = await stage.result(early.run_id)
    items = [{"from": "i"}, {"from": "item"}, {"from": "i"}]
    assert (result.output, handlers.done) == (wanted | {"items": items}, ["z"])
    assert (await verified(stage, early.run_id)).ok, await verified(stage, early.run_id)

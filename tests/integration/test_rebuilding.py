"""A built run is built again in parts: exactly what a change makes out of date is executed; the result is the same."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msgspec import structs

from courante.sdk.errors import InputInvalid, NotRestartable, RunNotFound, StepNotFound
from courante.sdk.fold.fold import fold
from courante.sdk.stores.runs import get_run
from courante.sdk.user_errors import FatalError
from integration.cases import node
from integration.floor import compile_document
from integration.stage import Stage, until
from integration.test_dead_letters import letters, steps_of, verified

if TYPE_CHECKING:
    from courante.sdk.client.restarts import Restarted

pytestmark = pytest.mark.anyio


class Builders:
    """Steps that give what they are given. ``done``: how often each was executed. ``failing``: those that fail."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.failing: set[str] = set()
        self.holds: anyio.Event | None = None
        self.said = "first"

    async def build(self, given: Any) -> Any:
        name = str(given["name"])
        self.done[name] += 1
        if self.holds is not None and name == "publish":
            await self.holds.wait()
        if name in self.failing:
            raise FatalError("it does not build")
        return {"name": name, "from": given.get("from"), "said": self.said if name == "price" else ""}

    def steps(self) -> dict[str, Any]:
        return {"build": self.build}


def step(id: str, *depends_on: str, given: str = "null", **more: Any) -> dict[str, Any]:
    input = {"name": f"'{id}'", "from": given}
    return node(id, *depends_on, type="function", config={"handler": "build"}, input=input, **more)


NODES = [
    step("brief"),
    step("copy", "brief", given="steps.brief.output.name"),
    step("price", "brief", given="steps.brief.output.name"),
    step("style", "brief"),
    node("sizes", "style", type="map", config={"items": "['s', 'm', 'l']"}),
    step("cut", "sizes", given="item"),
    step("draw", "cut", given="steps.cut.output.from"),
    node("images", "draw", type="aggregate", config={"policy": "collect"}),
    step("legal", "copy", "price", given="[steps.copy.output.name, steps.price.output.said]"),
    step("page", "legal", "images", given="steps.legal.output.from"),
    step("mail", "legal", given="steps.legal.output.name"),
    step("publish", "page", "mail", given="[steps.page.output.from, steps.mail.output.from]"),
]
CHANGES = {
    "prices": ["price"],
    "texts": ["copy"],
    "shapes": ["cut"],
    "looks": ["draw"],
    "all": ["brief"],
    "post": "mail",
}
AGAIN = {
    "prices": {"price", "legal", "page", "mail", "publish"},
    "texts": {"copy", "legal", "page", "mail", "publish"},
    "shapes": {"cut", "draw", "page", "publish"},
    "looks": {"draw", "page", "publish"},
    "post": {"mail", "publish"},
}
OUTPUT = "{'publish': steps.publish.output, 'images': steps.images.output}"
ITEMS = {"cut": 3, "draw": 3}
STEPS = {each["id"] for each in NODES} - {"sizes", "images"}


async def built(stage: Stage, builders: Builders, **fields: Any) -> str:
    stage.supervisor()
    stage.worker(builders.steps())
    await stage.register(*NODES, changes=CHANGES, output=OUTPUT, **fields)
    base = await stage.client.submit("w")
    assert (await stage.result(base)).status == "COMPLETED"
    assert builders.done == {name: ITEMS.get(name, 1) for name in STEPS}
    builders.done.clear()
    return base


async def rebuilt(stage: Stage, run_id: str, *changes: str, **options: Any) -> Restarted:
    done = await stage.client.rebuild(run_id, changes, **options)
    assert (await stage.result(done.run_id)).status == "COMPLETED"
    found = await verified(stage, done.run_id)
    assert found.ok, found
    return done


async def test_exactly_what_a_change_makes_out_of_date_is_executed(stage: Stage) -> None:
    """Whatever the change, the result is that of a full build; the rest is skipped, with its outputs in place."""
    builders = Builders()
    base = await built(stage, builders)
    whole = await stage.client.result(base)
    _, ir = compile_document({"courante": 1, "id": "w", "nodes": NODES, "changes": CHANGES, "output": OUTPUT})
    for change, steps in AGAIN.items():
        planned = await stage.client.rebuild(base, [change], dry_run=True)
        done = await rebuilt(stage, base, change, by="ada")
        assert builders.done == {name: ITEMS.get(name, 1) for name in steps}, change
        assert (done, done.is_new) == (structs.replace(planned, by="ada"), True)
        assert set(done.impacted) - {"sizes", "images"} == steps
        assert set(done.reused) - {"sizes", "images"} == STEPS - steps
        assert (await stage.client.result(done.run_id)).output == whole.output, change
        executions = await steps_of(stage, done.run_id)
        reused = {name for name, row in executions.items() if row.reason == "reused_from_base_run"}
        assert reused == set(done.reused)
        assert all(executions[name].status == "SKIPPED" and executions[name].output_seq for name in reused)
        events = await stage.events(done.run_id)
        assert events[0].facts.data["change"] == change
        assert events[0].facts.data["trigger"] == "rebuild"
        fold(ir, events)
        async with stage.client.pool.acquire() as conn:
            row = await get_run(conn, done.run_id)
        assert (row.base_run_id, row.trigger, row.by) == (base, "rebuild", "ada")
        assert not (await stage.client.rebuild(base, [change])).is_new
        builders.done.clear()


async def test_what_was_rebuilt_is_rebuilt_again(stage: Stage) -> None:
    """Each time the log of the run before is enough: what was changed by one stays changed by the next."""
    builders = Builders()
    run_id = await built(stage, builders)
    builders.said = "second"
    for change in ("prices", "looks", "shapes", "post", "texts"):
        run_id = (await rebuilt(stage, run_id, change)).run_id
        assert builders.done == {name: ITEMS.get(name, 1) for name in AGAIN[change]}, change
        builders.done.clear()
        output = (await stage.client.result(run_id)).output
        assert output["publish"]["from"][0] == ["copy", "second"]
        assert [each["value"]["from"] if "value" in each else each["from"] for each in output["images"]]
    both = await rebuilt(stage, run_id, "post", "looks")
    assert builders.done == {name: ITEMS.get(name, 1) for name in AGAIN["post"] | AGAIN["looks"]}
    assert both.base_run_id == run_id
    assert (await stage.client.rebuild(run_id, ["looks", "post"])).run_id == both.run_id
    from_both = [
        await stage.client.rerun(run_id, steps, dry_run=True) for steps in (["copy", "images"], ["images", "copy"])
    ]
    assert from_both[0].run_id == from_both[1].run_id


async def test_a_rebuilt_run_survives_an_emptied_redis(stage: Stage) -> None:
    builders = Builders()
    base = await built(stage, builders)
    builders.holds = anyio.Event()
    done = await stage.client.rebuild(base, ["looks"])
    await until(lambda: stage.types(done.run_id), lambda types: types.count("step.succeeded") >= 4)
    await stage.redis.flushall()
    builders.holds.set()
    assert (await stage.result(done.run_id)).output == (await stage.client.result(base)).output
    assert (await verified(stage, done.run_id)).ok
    assert set(builders.done) <= AGAIN["looks"] | {"publish"}


async def test_a_run_is_made_again_from_a_step(stage: Stage) -> None:
    """Of a run that failed too: what failed is executed again, and its dead letter is dealt with."""
    builders = Builders()
    builders.failing = {"mail"}
    stage.supervisor()
    stage.worker(builders.steps())
    more: dict[str, Any] = {
        "policy": {"on_failure": "continue"},
        "output": "{'name': steps.publish.output.name, 'n': input.n}",
    }
    nodes = [{**each, "retry": {"max_attempts": 1}} if each["id"] == "mail" else each for each in NODES]
    await stage.register(*nodes, **more)
    base = await stage.client.submit("w", {"n": 1})
    assert (await stage.result(base)).status == "FAILED"
    builders.failing = set()
    builders.done.clear()
    done = await stage.client.rerun(base, ["images"], input={"n": 2})
    result = await stage.result(done.run_id)
    assert (result.status, result.output) == ("COMPLETED", {"name": "publish", "n": 2})
    assert builders.done == {"page": 1, "mail": 1, "publish": 1}
    assert (await verified(stage, done.run_id)).ok, await verified(stage, done.run_id)
    assert await letters(stage) == []
    other = await stage.client.rerun(base, ["images"], input={"n": 3})
    assert other.run_id != done.run_id
    assert (await stage.client.rerun(base, ["images"], input={"n": 2})).run_id == done.run_id
    assert (await stage.client.rerun(base, ["images"], again=True)).is_new


async def test_a_run_of_which_no_log_says_anything_yet_has_not_ended(stage: Stage) -> None:
    """Also where Redis knows its end, and nobody has recorded it: the workflow is not what is missing."""
    await stage.register(node("a"), changes={"all": ["a"]})
    client, run_id = stage.client, await stage.client.submit("w")
    asked = (partial(client.rebuild, changes=["all"]), partial(client.rerun, steps=["a"]), partial(client.fork, at=1))
    for ask, reason in zip(asked, ("not_ended", "not_ended", "unknown_event"), strict=True):
        with pytest.raises(NotRestartable) as error:
            await ask(run_id)
        assert error.value.reason == reason
        assert error.value.hint == f"courante status {run_id} --watch"


async def test_what_cannot_be_made_again_is_refused(stage: Stage) -> None:
    builders = Builders()
    base = await built(stage, builders)
    client = stage.client

    async def refused(reason: str, *changes: str, run_id: str = base, **more: Any) -> str:
        with pytest.raises(NotRestartable) as error:
            await client.rebuild(run_id, changes, **more)
        assert error.value.reason == reason
        return f"{error.value.message} {error.value.hint}"

    told = await refused("unknown_change", "price")
    assert told == (
        "'w' knows no change 'price'; it knows all, looks, post, prices, shapes, texts did you mean 'prices'?"
    )
    with pytest.raises(StepNotFound) as missing:
        await client.rerun(base, ["publsh"])
    assert missing.value.hint == "did you mean 'publish'?"
    with pytest.raises(InputInvalid):
        await client.rerun(base, [])
    with pytest.raises(RunNotFound):
        await client.rerun("run_nobody", ["brief"])
    builders.holds = anyio.Event()
    running = await client.submit("w")
    await until(lambda: stage.types(running), lambda types: "step.succeeded" in types)
    assert "has not ended" in await refused("not_ended", "prices", run_id=running)
    builders.holds.set()
    await stage.result(running)
    await stage.register(*NODES, changes={"new": ["brief"]}, output=OUTPUT)
    told = await refused("other_version", "prices")
    assert f"{base} ran version 1 of 'w', and the latest is version 2" in told
    assert (await rebuilt(stage, base, "prices", is_any_version=True)).is_new
    builders.failing = {"brief"}
    failed = await client.submit("w")
    assert (await stage.result(failed)).status == "FAILED"
    assert "only what is complete" in await refused("not_completed", "new", run_id=failed)


async def test_a_step_that_its_base_did_not_come_to_cannot_be_a_beginning(stage: Stage) -> None:
    """And what was undone cannot be taken over."""
    builders = Builders()
    stage.supervisor()
    stage.worker(builders.steps())
    rules = [{"when": "output.said == ''", "next": ["left"]}]
    await stage.register(step("a", rules=rules, default=["right"]), step("left"), step("right"))
    base = await stage.client.submit("w")
    await stage.result(base)
    with pytest.raises(NotRestartable) as error:
        await stage.client.rerun(base, ["right"])
    assert (error.value.reason, error.value.message) == (
        "not_reached",
        f"the way that {base} took does not lead to right",
    )
    await stage.register(
        step("a", compensate="undo"), step("b", "a", retry={"max_attempts": 1}), step("undo"), id="undoing"
    )
    builders.failing = {"b"}
    undone = await stage.client.submit("undoing")
    assert (await stage.result(undone)).status == "FAILED"
    with pytest.raises(NotRestartable) as error:
        await stage.client.rerun(undone, ["b"])
    assert error.value.reason == "undone"
    builders.failing = set()
    whole = await stage.client.rerun(undone, ["a"])
    assert (await stage.result(whole.run_id)).status == "COMPLETED"

"""Runs that go on from bases with child runs, from bases that had moved to another version, and from what went on."""

from __future__ import annotations

from typing import Any

import pytest

from integration.cases import node
from integration.child_runs import children
from integration.stage import Stage, until
from integration.test_dead_letters import verified
from integration.test_retried_versions import Hands, step

pytestmark = pytest.mark.anyio


def child(id: str, workflow: str, *depends_on: str, **input: str) -> dict[str, Any]:
    return node(id, *depends_on, type="subflow", config={"workflow": workflow}, input=input)


async def ended(stage: Stage, run_id: str, status: str = "COMPLETED") -> Any:
    result = await stage.result(run_id)
    assert result.status == status, result
    found = await verified(stage, run_id)
    assert found.ok, found
    return result.output


async def test_child_runs_that_are_done_are_not_run_again(stage: Stage) -> None:
    """Those of steps that are executed are new ones, of the new run; also where bases have bases."""
    hands, client = Hands(), stage.client
    stage.supervisor()
    stage.worker(hands.steps())
    for name in ("one", "two"):
        await stage.register(step(name, given="input.n"), id=name, output=f"steps.{name}.output")

    def nodes(n: int, *more: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            child("first", "one", n="input.n"),
            node("each", "first", type="map", config={"items": "[1, 2]"}),
            child("item", "one", "each", n="item"),
            node("all", "item", type="aggregate"),
            step("mid", "all", given=f"'{n}'"),
            child("last", "two", "mid", n=f"input.n + {n}"),
            *more,
        ]

    output = "[steps.first.output, steps.all.output, steps.last.output]"
    hands.failing = {"mid"}
    await stage.register(*nodes(1), output=output, changes={"mid": ["mid"], "item": ["item"]})
    base = await client.submit("w", {"n": 5})
    await ended(stage, base, "FAILED")
    hands.failing.clear()

    async def goes_on(run_id: str, wanted: Any, done: dict[str, int], *own: str) -> str:
        """It has come to that, by these handlers, with child runs of its own for these steps."""
        assert await ended(stage, run_id) == wanted
        assert hands.done == done
        rows = await children(stage, run_id)
        assert sorted(row.node for row in rows if row.taken_from is None) == sorted(own)
        taken = {row.run_id: row.taken_from for row in rows if row.taken_from is not None}
        assert len(rows) == 4
        for child_id, parent in taken.items():
            assert child_id in {row.run_id for row in await children(stage, str(parent)) if row.taken_from is None}
        hands.done.clear()
        return run_id

    assert sorted(row.node for row in await children(stage, base)) == ["first", "item", "item"]
    hands.done.clear()
    retried = (await client.retry(base)).run_id
    await goes_on(retried, [5, [1, 2], 6], {"mid": 1, "two": 1}, "last")
    rebuilt = (await client.rebuild(retried, ["mid"])).run_id
    await goes_on(rebuilt, [5, [1, 2], 6], {"mid": 1, "two": 1}, "last")
    items = (await client.rebuild(rebuilt, ["item"])).run_id
    await goes_on(items, [5, [1, 2], 6], {"one": 2, "mid": 1, "two": 1}, "item", "item", "last")
    rerun = (await client.rerun(items, ["last"], input={"n": 7})).run_id
    await goes_on(rerun, [5, [1, 2], 8], {"two": 1}, "last")
    await stage.register(*nodes(3, step("more", "last")), output=output)
    mended = await client.retry(base, version="latest")
    assert (mended.way, mended.reused) == ("migrated", ("first", "each", "item", "all"))
    await goes_on(mended.run_id, [5, [1, 2], 8], {"mid": 1, "two": 1, "more": 1}, "last")
    await stage.register(
        *[{**each, "input": {"n": "input.n + 1"}} if each["id"] == "first" else each for each in nodes(3)],
        output=output,
    )
    mended = await client.retry(base, version="latest")
    assert (mended.way, mended.why["first"], mended.reused) == ("reenacted", "input_differs", ())
    await goes_on(mended.run_id, [6, [1, 2], 8], {"one": 3, "mid": 1, "two": 1}, "first", "item", "item", "last")


async def test_bases_that_had_moved_to_another_version(stage: Stage) -> None:
    """A step counts as done by the version that did it; what goes on has the version that its base had at last."""
    hands, client = Hands(), stage.client
    stage.supervisor()
    stage.worker(hands.steps())

    def nodes(text: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
        said = node("said", "a", type="transform", config={"expression": f"'{text}'"})
        return [step("a"), said, node("go", "said", type="signal", config={"name": "go"}), step("f", "go"), *more]

    await stage.register(*nodes("one"))
    base = await client.submit("w")
    await until(lambda: stage.types(base), lambda types: "step.waiting" in types)
    await stage.register(
        *nodes("two", step("z", "f")), output="steps.said.output", changes={"f": ["f"], "said": ["said"]}
    )
    assert (await client.migrate_run(base, 2)).is_moved
    hands.failing = {"f"}
    await client.signal(base, "go")
    await ended(stage, base, "FAILED")
    hands.failing.clear()
    hands.done.clear()
    retried = await client.retry(base)
    assert (await ended(stage, retried.run_id), retried.version, hands.done) == ("one", 2, {"f": 1, "z": 1})
    hands.done.clear()
    done = await client.rebuild(retried.run_id, ["f"])
    assert (await ended(stage, done.run_id), hands.done) == ("one", {"f": 1, "z": 1})
    hands.done.clear()
    again = await client.rerun(done.run_id, ["said"])
    await until(lambda: stage.types(again.run_id), lambda types: "step.waiting" in types)
    await client.signal(again.run_id, "go")
    assert (await ended(stage, again.run_id), hands.done) == ("two", {"f": 1, "z": 1})
    hands.done.clear()
    same = await client.retry(base, version=2)
    assert (same.way, same.run_id) == ("resumed", retried.run_id)
    await stage.register(*nodes("two", step("x", "f")), output="steps.said.output")
    other = await client.retry(base, version="latest", dry_run=True)
    assert (other.way, other.reused) == ("reenacted", ("a",))
    assert other.why == {"said": "changed", "go": "follows", "f": "follows", "x": "new"}
    await stage.register(*nodes("one", step("y", "f")), output="steps.said.output")
    last = await client.retry(base, version="latest")
    assert (last.why, last.reused) == ({"f": "failed", "y": "new"}, ("a", "said", "go"))
    assert (await ended(stage, last.run_id), hands.done) == ("one", {"f": 1, "y": 1})

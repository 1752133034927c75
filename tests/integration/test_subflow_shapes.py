"""Child runs where there are many of them, or nobody who waits for them: maps, loops, recursion, detached ones."""

from __future__ import annotations

import pytest

from courante.sdk.stores.children import ChildState
from integration.child_runs import child, children
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio

SIGNAL = {"id": "s", "type": "signal", "config": {"name": "go"}}


def computes(expression: str, **fields: object) -> dict[str, object]:
    return {"id": "t", "type": "transform", "config": {"expression": expression}, **fields}


async def test_a_detached_child_run_goes_on_alone(stage: Stage) -> None:
    """Its parent has its id and ends; a cancel of the parent would not have reached it either."""
    stage.worker()
    stage.supervisor()
    await stage.register(SIGNAL, id="inner", output="steps.s.output")
    hold = {"id": "hold", "type": "signal", "depends_on": "child", "config": {"name": "never"}}
    await stage.register(child(config={"detached": True}), hold, id="outer")
    run_id = await stage.client.submit("outer")
    await until(lambda: stage.types(run_id), lambda types: types.count("step.waiting") == 2)
    (row,) = await until(lambda: children(stage, run_id), lambda rows: rows[0].state is ChildState.SETTLED)
    events = await stage.events(run_id)
    assert (
        next(e.payload for e in events if e.facts.type == "step.succeeded") == b'{"run_id":"%s"}' % row.run_id.encode()
    )
    await stage.client.cancel(run_id)
    assert (await stage.result(run_id)).status == "CANCELLED"
    await stage.client.signal(row.run_id, "go", 5)
    assert (await stage.result(row.run_id)).output == 5


async def test_a_detached_child_run_that_cannot_be_started_fails_its_step(stage: Stage) -> None:
    """The step ends when its child run is accepted, and not before that is known."""
    stage.worker()
    stage.supervisor()
    result = await stage.run(await stage.register(child("nowhere", config={"detached": True}), id="outer"))
    assert result.error is not None
    assert result.error["type"] == "SUBFLOW_REFUSED"


async def test_a_workflow_that_runs_itself_comes_to_an_end(stage: Stage) -> None:
    """By its own condition, or by the limit: the run that would be too deep is refused, and all above it fail."""
    stage.worker()
    stage.supervisor(subflow_depth_max=3)
    below = child("down", input="input - 1", when="input > 0")
    total = computes(
        "input + (has(steps.child.output) ? steps.child.output : 0)", depends_on="child", join="any", id="sum"
    )
    edges = [{"from": "begin", "to": "sum"}]
    begin = computes("input", id="begin")
    nodes = ({**below, "depends_on": "begin"}, {**total, "depends_on": ["child"], "join": "all"})
    await stage.register(begin, *nodes, id="down", edges=edges, output="steps.sum.output")
    assert (await stage.run("down", 3)).output == 6
    result = await stage.run("down", 4)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["message"].count("SUBFLOW_FAILED") == 2
    assert "SUBFLOW_REFUSED: 4 runs stand above it; at most 3 may" in result.error["message"]
    (first,) = await children(stage, result.run_id)
    (second,) = await children(stage, first.run_id)
    assert (first.depth, second.depth) == (1, 2)


async def test_each_item_and_each_iteration_has_its_child_run(stage: Stage) -> None:
    """Thirty items, two iterations, two supervisors: results in order, a child run for each, and none twice."""
    stage.worker()
    stage.supervisor()
    stage.supervisor()
    await stage.register(computes("input * 10"), id="inner", output="steps.t.output")
    loop = child(id="again", depends_on="all", input="loop.iteration")
    loop |= {"loop": {"while": "output < 30", "back_to": "again", "max_iterations": 5}}
    await stage.register(
        {"id": "each", "type": "map", "config": {"items": "input"}},
        child(depends_on="each", input="item"),
        {"id": "all", "type": "aggregate", "depends_on": "child"},
        loop,
        id="outer",
        output="{'items': steps.all.output, 'last': steps.again.output}",
    )
    result = await stage.run("outer", list(range(30)))
    assert result.output == {"items": [10 * n for n in range(30)], "last": 100}
    rows = await children(stage, result.run_id)
    assert [row.scope for row in rows if row.node == "again"] == ["1", "2"]
    assert len({row.run_id for row in rows}) == 32
    assert await stage.commands() == 33 + 32  # starts, and what the children told


async def test_what_is_large_goes_down_and_comes_up_by_reference(stage: Stage) -> None:
    """Inputs and outputs beyond the inline limit are those of any other run."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "n", "type": "noop"}, id="inner", output="steps.n.output")
    await stage.register(child(), id="outer", output="steps.child.output")
    text = "x" * 100_000
    result = await stage.run("outer", {"text": text})
    assert result.output == {"text": text}
    waiting = next(event for event in await stage.events(result.run_id) if event.facts.type == "step.waiting")
    assert waiting.payload is not None
    assert waiting.payload.startswith(b"@")


async def test_a_run_that_goes_on_from_another_one_begins_its_child_anew(stage: Stage) -> None:
    """What its steps had come to is taken over; the child run was cancelled with its parent, and is the new one's."""
    stage.worker()
    stage.supervisor()
    await stage.register(SIGNAL, id="inner", output="steps.s.output")
    await stage.register(computes("input + 1"), child(depends_on="t"), id="outer")
    first = await stage.client.submit("outer", 1)
    (before,) = await until(lambda: children(stage, first), lambda rows: len(rows) == 1 and rows[0].status is not None)
    await stage.client.cancel(first)
    assert [r.status for r in await stage.results([first, before.run_id])] == ["CANCELLED", "CANCELLED"]
    again = (await stage.client.retry(first)).run_id
    (after,) = await until(lambda: children(stage, again), lambda rows: len(rows) == 1 and rows[0].status is not None)
    assert after.run_id != before.run_id
    await stage.client.signal(after.run_id, "go", 9)
    assert (await stage.result(again)).output == {"child": 9}
    assert await stage.succeeded(again) == ["child"]

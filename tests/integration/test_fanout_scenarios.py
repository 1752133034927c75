"""The six scenarios of a conductor's demonstration, on real servers: a parent, its children, retries, what is seen.

The parent is a map with its aggregate; the children are its items, ``parent#1`` to ``parent#3``. States and counts are
those that ``courante status`` shows.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from courante.api.reading.runs import RunReader, RunView
from courante.api.wire.health import health_shown
from courante.sdk.stores.runs import RunStatistics, get_statistics, list_runs
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
CHILDREN = ["parent#1", "parent#2", "parent#3"]


def fanout(**retry: Any) -> list[dict[str, Any]]:
    """A parent whose children are the values of the input."""
    return [
        {"id": "parent", "type": "map", "config": {"items": "input"}},
        step("child", "child", "parent", retry={"jitter": False, **retry}),
        {"id": "result", "type": "aggregate", "depends_on": "child"},
    ]


class Children:
    """What the children do: fail as often as their value says (below 0: always), and wait for a gate where told so."""

    def __init__(self, *gated: int) -> None:
        self.tries: Counter[str] = Counter()
        self.gates = {place: anyio.Event() for place in gated}

    async def child(self, failures: int, context: Any) -> int:
        place = int(context.scope.partition("[")[2].rstrip("]") or 0) + 1
        self.tries[f"parent#{place}"] += 1
        if place in self.gates:
            await self.gates[place].wait()
        if failures < 0 or context.attempt <= failures:
            raise ConnectionError("as it should")
        return place


async def begin(stage: Stage, children: Children, values: Any, *nodes: Any) -> str:
    stage.worker({"child": children.child})
    stage.supervisor()
    return await stage.client.submit(await stage.register(*nodes), values)


async def look(stage: Stage, run_id: str) -> RunView:
    async with stage.client.pool.acquire() as conn:
        return await RunReader(conn, stage.place.env, run_id).read()


async def statistics(stage: Stage, run_id: str) -> RunStatistics:
    async with stage.client.pool.acquire() as conn:
        return await get_statistics(conn, run_id)


def states(view: RunView) -> dict[str, str]:
    """Of the parent, which is what its aggregate is, of the children by name, and of the run."""
    made = {step.child: str(step.status) for step in view.steps if step.child}
    made["parent"] = next(str(step.status) for step in view.steps if step.id == "result")
    return {**made, "run": str(view.run.status)}


async def see(stage: Stage, run_id: str, child: str, status: str) -> RunView:
    """Look until all children have begun and one has that status. Run and steps are read one after the other."""
    return await until(
        lambda: look(stage, run_id),
        lambda view: (states(view).get(child), len(tries(view)), view.run.status) == (status, 3, "RUNNING"),
    )


def tries(view: RunView) -> dict[str, int]:
    return {step.child: step.attempts for step in view.steps if step.child}


async def test_all_children_succeed(stage: Stage) -> None:
    """Scenario 1: three children, each made once; the parent and the run succeed."""
    children = Children()
    run_id = await begin(stage, children, [0, 0, 0], *fanout())
    result = await stage.result(run_id)
    view = await look(stage, run_id)
    assert states(view) == dict.fromkeys([*CHILDREN, "parent"], "SUCCEEDED") | {"run": "COMPLETED"}
    assert sorted(tries(view)) == CHILDREN
    assert children.tries == Counter(CHILDREN)
    assert result.output == {"result": [1, 2, 3]}


async def test_one_child_fails(stage: Stage) -> None:
    """Scenario 2: its failure goes on to the parent and to the run; the others are what they were."""
    run_id = await begin(stage, Children(), [0, 0, -1], *fanout(max_attempts=1))
    result = await stage.result(run_id)
    view = await look(stage, run_id)
    expected = {"parent#1": "SUCCEEDED", "parent#2": "SUCCEEDED", "parent#3": "FAILED", "parent": "FAILED"}
    assert states(view) == expected | {"run": "FAILED"}
    assert result.error is not None
    assert (result.error["type"], result.error["node"]) == ("ITEMS_FAILED", "result")
    assert result.error["message"].startswith("1 of 3 items failed, and at most 0 may: parent[2]: ConnectionError")


async def test_a_child_is_still_at_work(stage: Stage) -> None:
    """Scenario 3: the parent waits for it and the run goes on, until the child has come to its end."""
    children = Children(3)
    run_id = await begin(stage, children, [0, 0, 0], *fanout())
    view = await see(stage, run_id, "parent#3", "RUNNING")
    expected = {"parent#1": "SUCCEEDED", "parent#2": "SUCCEEDED", "parent#3": "RUNNING", "parent": "WAITING"}
    assert states(view) == expected | {"run": "RUNNING"}
    assert [step.waiting_for for step in view.steps if step.id == "result"] == ["items of parent"]
    children.gates[3].set()
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert states(await look(stage, run_id))["parent"] == "SUCCEEDED"


async def test_a_child_is_tried_again(stage: Stage) -> None:
    """Scenario 4: one retry; while it is to come the parent waits, and has not failed."""
    children = Children()
    run_id = await begin(stage, children, [0, 1, 0], *fanout(max_attempts=4, base="1s"))
    view = await see(stage, run_id, "parent#2", "RETRYING")
    assert states(view) == {
        "parent#1": "SUCCEEDED",
        "parent#2": "RETRYING",
        "parent#3": "SUCCEEDED",
        "parent": "WAITING",
        "run": "RUNNING",
    }
    assert tries(view)["parent#2"] == 2, "the try that is to come: one retry"
    assert (await stage.result(run_id)).output == {"result": [1, 2, 3]}
    view = await look(stage, run_id)
    assert states(view) == dict.fromkeys([*CHILDREN, "parent"], "SUCCEEDED") | {"run": "COMPLETED"}
    assert tries(view) == {"parent#1": 1, "parent#2": 2, "parent#3": 1}
    assert (await statistics(stage, run_id)).retries == 1


async def test_a_step_has_no_tries_left(stage: Stage) -> None:
    """Scenario 5: two retries are three tries; after the third nothing is tried again, and the run has failed."""
    children = Children()
    retry = {"base": "1ms", "jitter": False}
    run_id = await begin(stage, children, -1, step("task", "child", max_retries=2, retry=retry))
    result = await stage.result(run_id)
    view = await look(stage, run_id)
    (task,) = view.steps
    assert (str(task.status), task.attempts, result.status) == ("FAILED", 3, "FAILED")
    types = Counter(await stage.types(run_id))
    assert (types["step.retried"], types["step.failed"]) == (2, 1)
    assert (await statistics(stage, run_id)).retries == 2
    assert sum(children.tries.values()) == 3


async def test_what_is_seen_of_it_all(stage: Stage) -> None:
    """Scenario 6: the health of the whole, retries and durations of runs, their list, and the events of a child."""
    children = Children()
    stage.worker({"child": children.child})
    stage.supervisor()
    workflow = await stage.register(*fanout(max_attempts=2, base="1ms"))
    good, bad = [await stage.client.submit(workflow, values) for values in ([0, 1, 0], [0, -1])]
    assert [end.status for end in await stage.results([good, bad])] == ["COMPLETED", "FAILED"]
    health = await until(stage.client.health, lambda found: found.status == "HEALTHY")
    assert health_shown(health).workers == 1
    async with stage.client.pool.acquire() as conn:
        failed = await list_runs(conn, stage.place.env, status="failed")
    assert [run.run_id for run in failed.runs] == [bad]
    found = await statistics(stage, good)
    assert (found.executions, found.succeeded, found.failed, found.retries) == (6, 5, 1, 1)
    found = await statistics(stage, bad)
    assert (found.succeeded, found.failed, found.retries) == (2, 3, 1)
    assert found.elapsed_ms > 0
    of_child = [
        (event.facts.type, event.facts.attempt)
        for event in await stage.events(good)
        if (event.facts.node, event.facts.scope) == ("child", "1") and event.facts.type.startswith("step.")
    ]
    assert of_child == [("step.retried", 1), ("step.succeeded", 2)]

"""A Python function that selects a step's input (``inputSelector: "callable:..."``) has its say."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.authoring.context import Context
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def selects(id: str, selector: str, *after: str) -> dict[str, Any]:
    """A step that returns its input as it was selected."""
    config = {"handler": "same", "input_selector": selector}
    return {"id": id, "type": "function", "depends_on": list(after), "config": config}


def same(value: object) -> object:
    return value


def best(seen: dict[str, Any]) -> object:
    """The larger of two steps, and what the run was given."""
    offers = [seen["outputs"]["a"], seen["steps"]["b"]["output"]]
    return {"best": max(offers), "of": seen["input"]["n"], "by": sorted(seen["inputs"])}


def unordered() -> object:
    return {1, 2}


async def whole(seen: dict[str, Any], context: Context) -> object:
    return [sorted(seen), seen["run"]["workflow"], context.node]


async def test_the_function_selects_from_what_the_step_depends_on(stage: Stage) -> None:
    """Plain or async, with or without the context; others may read what was selected."""
    stage.worker({"same": same, "best": best, "whole": whole})
    stage.supervisor()
    nodes = [
        {"id": "a", "type": "echo", "config": {"value": 3}},
        {"id": "b", "type": "echo", "config": {"value": 5}},
        selects("c", "best", "a", "b"),
        selects("d", "whole", "c"),
        {"id": "e", "type": "noop", "depends_on": "d", "input": {"read": "steps.c.input.best"}},
    ]
    done = await stage.run(
        await stage.register(*nodes, output="[steps.c.output, steps.d.output, steps.e.output]"), {"n": 2}
    )
    assert done.output == [
        {"best": 5, "of": 2, "by": ["a", "b"]},
        [["input", "inputs", "loop", "outputs", "run", "steps"], "w", "d"],
        {"read": 5},
    ]


@pytest.mark.parametrize(
    ("selector", "type", "words"),
    [
        (best, "KeyError", "a"),
        (unordered, "INPUT_INVALID", "'choose' selects no JSON value: JSON has no values of type set"),
    ],
    ids=["raises", "gives no JSON"],
)
async def test_a_selection_that_fails_fails_its_step(stage: Stage, selector: Any, type: str, words: str) -> None:
    """The skill is not called, and the error is that of the step."""
    called: list[object] = []
    stage.worker({"same": called.append, "choose": selector})
    stage.supervisor()
    done = await stage.run(await stage.register(selects("a", "choose")), {})
    assert done.error is not None
    assert (done.status, done.error["type"], done.error["node"], called) == ("FAILED", type, "a", [])
    assert words in done.error["message"]


async def test_a_selector_that_a_worker_does_not_know_is_left_to_another(stage: Stage) -> None:
    """As a handler is: the step waits, and nothing has failed."""
    stage.worker({"same": same})
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(selects("a", "choose")), {})
    run = stage.client.keys.partition(0).run(run_id)

    async def record() -> bytes | None:
        return await stage.redis.hget(run, "t0")

    await until(record, lambda record: record is not None and b"|g|" in record)
    stage.worker({"same": same, "choose": lambda: "chosen"})
    assert (await stage.result(run_id)).output == {"a": "chosen"}

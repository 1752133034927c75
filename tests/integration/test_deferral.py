"""A step hands its token out and ends when somebody outside says how: by any process, however long after."""

from __future__ import annotations

import anyio
import pytest

from courante import Context, Deferred
from courante.sdk.errors import CouranteError
from integration.hastening import hasten
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


class Desk:
    """Takes the tokens that a step hands out."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def give(self, value: object, context: Context) -> Deferred:
        del value
        deferred = context.defer()
        self.tokens.append(deferred.token)
        return deferred


def node(**fields: object) -> dict[str, object]:
    return {"id": "a", "type": "function", "config": {"handler": "give"}, **fields}


async def open_desk(stage: Stage) -> Desk:
    desk = Desk()
    stage.worker({"give": desk.give})
    stage.supervisor()
    return desk


async def hand_out(stage: Stage, desk: Desk, workflow: str, count: int = 1) -> str:
    """Start a run and return it when its step waits."""
    run_id = await stage.client.submit(workflow, 1)
    await until(anyio.lowlevel.checkpoint, lambda _: len(desk.tokens) == count)
    await until(lambda: stage.types(run_id), lambda types: types.count("step.waiting") == count)
    return run_id


async def test_a_step_is_completed_from_outside(stage: Stage) -> None:
    """Its slot is free meanwhile; what was said is its output; the second word is told of the first."""
    desk = await open_desk(stage)
    run_id = await hand_out(stage, desk, await stage.register(node(), {"id": "b", "type": "noop", "depends_on": "a"}))
    assert await stage.pending() == {}
    await stage.client.complete(desk.tokens[0], {"n": 7}, by="robot")
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"b": {"n": 7}})
    with pytest.raises(CouranteError):
        await stage.client.fail(desk.tokens[0], "too late")


async def test_a_word_that_comes_before_the_step_waits_counts(stage: Stage) -> None:
    """Whoever was handed the token may be faster than the transition that parks it."""

    async def give(value: object, context: Context) -> Deferred:
        del value
        deferred = context.defer()
        await stage.client.complete(deferred.token, "quick")
        return deferred

    stage.worker({"give": give})
    stage.supervisor()
    assert (await stage.run(await stage.register(node()), 1)).output == {"a": "quick"}


async def test_a_step_that_is_failed_from_outside_is_tried_again(stage: Stage) -> None:
    """The next attempt hands out a token of its own; the old one is worth nothing any more."""
    desk = await open_desk(stage)
    workflow = await stage.register(node(retry={"max_attempts": 2, "base": "10ms"}))
    run_id = await hand_out(stage, desk, workflow)
    await stage.client.fail(desk.tokens[0], "the robot fell over")
    await until(lambda: stage.types(run_id), lambda types: types.count("step.waiting") == 2)
    assert desk.tokens[0] != desk.tokens[1]
    await stage.client.complete(desk.tokens[1], "done")
    assert (await stage.result(run_id)).output == {"a": "done"}


async def test_nobody_completes_it_in_time(stage: Stage) -> None:
    """The timeout of an attempt holds for the time in which it is in other hands, too."""
    desk = await open_desk(stage)
    run_id = await hand_out(stage, desk, await stage.register(node(timeout="1h", max_retries=0)))
    assert await hasten(stage, run_id) == 1
    result = await stage.result(run_id)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["type"] == "TIMEOUT"
    assert len(desk.tokens) == 1

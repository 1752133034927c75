"""A step that is a run of another workflow: what it gives, how failures go up and cancellation goes down."""

from __future__ import annotations

from typing import Any

import pytest

from courante.replay.verify import verify_run
from courante.sdk.client.client import RunResult
from integration.child_runs import child, children
from integration.floor import compile_document
from integration.hastening import hasten
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def calls(handler: str, **fields: Any) -> dict[str, Any]:
    return {"id": "work", "type": "function", "config": {"handler": handler}, **fields}


async def only_child(stage: Stage, run_id: str, status: str = "COMPLETED") -> RunResult:
    """The end of the one child of a run."""
    (found,) = await until(lambda: children(stage, run_id), lambda rows: len(rows) == 1)
    result = await stage.result(found.run_id)
    assert result.status == status
    return result


async def waiting(stage: Stage, workflow: str, inner: str = "step.waiting") -> tuple[str, str]:
    """Start a run whose child waits; return the ids of both."""
    run_id = await stage.client.submit(workflow, None)
    (found,) = await until(lambda: children(stage, run_id), lambda rows: len(rows) == 1 and rows[0].status is not None)
    await until(lambda: stage.types(found.run_id), lambda types: inner in types)
    return run_id, found.run_id


async def open_stage(stage: Stage) -> None:
    def double(value: dict[str, int]) -> int:
        return value["n"] * 2

    def fall(value: object) -> None:
        raise ValueError(f"not with {value}")

    stage.worker({"double": double, "fall": fall})
    stage.supervisor()


async def test_a_step_is_a_run_of_another_workflow(stage: Stage) -> None:
    """Its input is the step's, its output is the step's; it is started once, in the name of its parent."""
    await open_stage(stage)
    await stage.register(calls("double"), id="inner", output="steps.work.output")
    await stage.register(
        child(input={"n": "input + 1"}), {"id": "b", "type": "noop", "depends_on": "child"}, id="outer"
    )
    result = await stage.run("outer", 20, by="ann", tags=["night"])
    assert (result.status, result.output) == ("COMPLETED", {"b": 42})
    inner = await only_child(stage, result.run_id)
    assert inner.output == 42
    started = (await stage.events(inner.run_id))[0].facts.data
    assert (started["trigger"], started["by"], started["tags"]) == ("child", "ann", ["night"])
    assert await stage.types(result.run_id) == [
        "run.started",
        "step.waiting",
        "command.applied",
        "token.released",
        "step.succeeded",
        "step.succeeded",
        "run.completed",
    ]
    assert await stage.commands() == 3
    async with stage.client.pool.acquire() as conn:
        for run_id in (result.run_id, inner.run_id):
            assert (await verify_run(conn, stage.place.env, run_id)).ok


async def test_a_failure_goes_up(stage: Stage) -> None:
    """The step fails with what its child run failed with, and is not tried again: the child has been."""
    await open_stage(stage)
    await stage.register(calls("fall", max_retries=0), id="inner")
    result = await stage.run(await stage.register(child(), id="outer"), 7)
    assert result.status == "FAILED"
    inner = await only_child(stage, result.run_id, "FAILED")
    assert result.error is not None
    assert result.error["type"] == "SUBFLOW_FAILED"
    assert result.error["message"] == f"{inner.run_id}: step work: ValueError: not with 7"


async def test_a_failure_is_handled_or_tried_again_as_any_other(stage: Stage) -> None:
    """Another try is another child run; then the error edge leads on."""
    await open_stage(stage)
    await stage.register(calls("fall", max_retries=0), id="inner")
    retry = {"max_attempts": 2, "base": "1ms", "on": ["SUBFLOW_FAILED"]}
    await stage.register(child(retry=retry, on_error="sorry"), {"id": "sorry", "type": "noop"}, id="outer")
    result = await stage.run("outer", 7)
    assert result.status == "COMPLETED"
    rows = await children(stage, result.run_id)
    assert [(row.attempt, row.status) for row in rows] == [(1, "FAILED"), (2, "FAILED")]
    assert len({row.run_id for row in rows}) == 2


async def test_a_cancel_goes_down(stage: Stage) -> None:
    """A run that is cancelled does not leave its child runs behind, at any depth."""
    await open_stage(stage)
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}}, id="inner")
    await stage.register(child(), id="middle")
    await stage.register(child("middle"), id="outer")
    run_id, middle_id = await waiting(stage, "outer")
    (inner,) = await until(
        lambda: children(stage, middle_id), lambda rows: len(rows) == 1 and rows[0].status == "WAITING"
    )
    await stage.client.cancel(run_id, "enough")
    results = await stage.results([run_id, middle_id, inner.run_id])
    assert [result.status for result in results] == ["CANCELLED"] * 3


async def test_a_child_run_that_is_cancelled_fails_its_step(stage: Stage) -> None:
    """Somebody else's cancel of the child is the parent's failure."""
    await open_stage(stage)
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}}, id="inner")
    run_id, child_id = await waiting(stage, await stage.register(child(), id="outer"))
    await stage.client.cancel(child_id, "not this one")
    result = await stage.result(run_id)
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["type"] == "SUBFLOW_CANCELLED"


@pytest.mark.parametrize("how", ["timeout", "cancel_step", "force_succeed"])
async def test_a_child_run_ends_when_its_step_is_over_without_it(stage: Stage, how: str) -> None:
    """Its time is up, it is withdrawn, or somebody has said how it ends."""
    await open_stage(stage)
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}}, id="inner")
    limit = {"timeout": "1h"} if how == "timeout" else {}
    run_id, child_id = await waiting(stage, await stage.register(child(max_retries=0, **limit), id="outer"))
    if how == "timeout":
        assert await hasten(stage, run_id) == 1
    elif how == "cancel_step":
        await stage.client.cancel_step(run_id, "child")
    elif how == "force_succeed":
        await stage.client.force_succeed(run_id, "child", "by hand")
    parent, inner = await stage.results([run_id, child_id])
    assert (parent.status, inner.status) == ("FAILED" if how == "timeout" else "COMPLETED", "CANCELLED")
    if parent.error is not None:
        assert parent.error["type"] == "TIMEOUT"


async def test_what_cannot_be_started_fails_its_step(stage: Stage) -> None:
    """A workflow or version that nobody has registered, and an input that does not fit, are told in plain words."""
    await open_stage(stage)
    schema = {"type": "object", "required": ["n"]}
    await stage.register(calls("double"), id="inner", input=schema)
    for config, input, words in (
        ({"workflow": "nowhere"}, {}, "nowhere"),
        ({"workflow": "inner", "version": 7}, {"n": 1}, "7"),
        ({"workflow": "inner"}, {"m": 1}, '"n"'),
        ({"workflow": "{{ input.m }}"}, {"m": "nobody"}, "nobody"),
    ):
        name = await stage.register(child(config=config), id="outer")
        result = await stage.run(name, input)
        assert result.error is not None
        assert result.error["type"] == "SUBFLOW_REFUSED"
        assert words in result.error["message"]


async def test_a_version_is_pinned_or_the_latest(stage: Stage) -> None:
    """A number stays what it is; the latest is that of the moment when the child is started."""
    await open_stage(stage)
    for number in (1, 2):
        await stage.register({"id": "e", "type": "echo", "config": {"value": number}}, id="inner")
    await stage.register(child(config={"version": 1}), id="pinned")
    await stage.register(child(config={"version": "latest"}), id="follows")
    assert (await stage.run("pinned")).output == {"child": {"e": 1}}
    assert (await stage.run("follows")).output == {"child": {"e": 2}}


async def test_whoever_registers_is_told_of_what_nobody_has_registered(stage: Stage) -> None:
    """Not of a workflow's own id, nor of what a template chooses; and it is no error: two may run each other."""
    nodes = [
        child("w", id="itself"),
        child("{{ input.which }}", id="chosen", depends_on="itself"),
        child("later", id="first", depends_on="chosen"),
        child("later", id="second", depends_on="first", config={"version": 2}),
    ]
    workflow, ir = compile_document({"courante": 1, "id": "w", "nodes": nodes})
    found = (await stage.client.register(workflow, ir)).warnings
    assert [(each.code, each.path) for each in found] == [
        ("unknown_workflow", ("nodes", 2, "config", "workflow")),
        ("unknown_workflow", ("nodes", 3, "config", "version")),
    ]
    await stage.register({"id": "e", "type": "noop"}, id="later")
    assert [each.path[1] for each in (await stage.client.register(workflow, ir)).warnings] == [3]

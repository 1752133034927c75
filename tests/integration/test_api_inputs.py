"""What a step was given, over HTTP: made again from the log, of those that have ended and of those that wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from integration.cases import node
from integration.http_calls import open_api
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(stage) as client:
        yield client


async def given(api: httpx.AsyncClient, run_id: str, step: str, scope: str = "") -> dict[str, Any]:
    answer = await api.get(f"/v1/runs/{run_id}/steps/{step}/input", params={"scope": scope})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found.pop("run_id"), found.pop("step"), found.pop("scope")) == (run_id, step, scope)
    return found


def is_input(value: Any) -> dict[str, Any]:
    return {"input": value, "reason": None}


async def test_inputs_of_all_kinds(stage: Stage, api: httpx.AsyncClient) -> None:
    """By a mapping, from one way in and from several, of an item, of an iteration, and of a model with its prompt."""
    stage.worker()
    stage.supervisor()
    await stage.register(
        node("a", type="echo", config={"value": {"n": 1}}),
        node("b", type="transform", input={"m": "steps.a.output.n + input.k"}, depends_on=["a"]),
        node("both", type="transform", depends_on=["a", "b"]),
        node("each", type="map", depends_on=["both"], config={"items": "['x', 'y']"}),
        node("item", type="transform", depends_on=["each"], input="item + '!'"),
        node("all", type="aggregate", depends_on=["item"]),
        node("again", type="transform", depends_on=["all"], config={"expression": "loop.iteration"})
        | {"loop": {"while": "output < 2", "back_to": "again", "max_iterations": 3}},
        node(
            "say",
            type="llm",
            depends_on=["again"],
            config={"provider": "echo", "model": "m", "prompt": "About {{ input.k }}"},
        ),
        input={"type": "object"},
    )
    result = await stage.run("w", {"k": 2})
    assert result.status == "COMPLETED", result
    run_id = result.run_id
    assert await given(api, run_id, "a") == is_input({"k": 2})
    assert await given(api, run_id, "b") == is_input({"m": 3})
    assert await given(api, run_id, "both") == is_input({"a": {"n": 1}, "b": {"m": 3}})
    assert await given(api, run_id, "item", "each[1]") == is_input("y!")
    assert await given(api, run_id, "all") == {"reason": "results"}
    assert await given(api, run_id, "again", "again#1") == is_input(["x!", "y!"])
    assert await given(api, run_id, "again", "again#2") == is_input(1)
    said = await given(api, run_id, "say")
    assert (said["input"], said["config"]["prompt"]) == (2, "About 2")
    for step, scope in (("none", ""), ("item", ""), ("a", "each[0]")):
        answer = await api.get(f"/v1/runs/{run_id}/steps/{step}/input", params={"scope": scope})
        assert (answer.status_code, answer.json()["code"]) == (404, "step_not_found")
    answer = await api.get("/v1/runs/run_1/steps/a/input")
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


async def test_what_is_being_asked_about(stage: Stage, api: httpx.AsyncClient) -> None:
    """Of a step that waits for a decision; those behind it have not begun; what a new run takes over the base has."""
    stage.worker()
    stage.supervisor()
    await stage.register(
        node("order", type="echo", config={"value": {"sum": 900}}),
        node("ask", type="approval", depends_on=["order"]),
        node("wrong", type="transform", depends_on=["ask"], input="steps.order.output.none"),
    )
    run_id = await stage.client.submit("w", 1)
    await until(lambda: api.get("/v1/approvals"), lambda found: len(found.json()["approvals"]) == 1)
    assert await given(api, run_id, "ask") == is_input({"sum": 900})
    assert await given(api, run_id, "wrong") == {"reason": "not_begun"}
    before = await api.get(f"/v1/runs/{run_id}/steps/ask/input", params={"at": 1})
    assert before.json()["reason"] == "not_begun"
    await stage.client.approve(run_id, by="ann")
    assert (await stage.result(run_id)).status == "FAILED"
    told = await given(api, run_id, "wrong")
    assert told["reason"].startswith("EXPRESSION_ERROR: ")
    assert await given(api, run_id, "ask") == is_input({"sum": 900})
    again = (await api.post(f"/v1/runs/{run_id}/retry")).json()["run_id"]
    await stage.result(again)
    assert await given(api, again, "order") == {"reason": "taken_over"}


async def test_what_is_not_stored_any_more(stage: Stage, api: httpx.AsyncClient) -> None:
    """Of a run that was forgotten nothing is told."""
    stage.worker()
    stage.supervisor()
    await stage.register(node("a", type="noop"), node("b", "a", type="noop"))
    result = await stage.run("w", {"k": 2})
    assert (await api.post(f"/v1/runs/{result.run_id}/forget", json={})).status_code == 200
    assert await given(api, result.run_id, "b") == {"reason": "emptied"}

"""The paths and words of older systems: requests as their documents have them give the answers that they describe."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from courante import Context
from courante.api.routes import aliases
from courante.sdk.access.scopes import Scope
from integration.api_asking import asking, spelled
from integration.http_calls import open_api
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
MODEL = {"provider": "echo", "model": "m"}
TASKS = {
    "id": "demo_prd",
    "name": "PRD Generator",
    "definition": {
        "tasks": [
            {"id": "research", "name": "Research", "prompt": "About {{ input.topic }}", **MODEL},
            {"id": "draft", "prompt": "Draft", "depends_on": ["research"], "requires_approval": True, **MODEL},
        ]
    },
}
FEEDS: dict[str, Any] = {
    "id": "feed-discovery",
    "steps": [
        {"id": "step1", "type": "transform", "inputMapping": {"interests": "input.interests"}},
        {"id": "step2", "type": "transform", "inputMapping": {"about": "steps.step1.output.interests"}},
    ],
}
RUN_FEEDS = """curl -X POST http://localhost:3000/api/workflows/feed-discovery/run \\
  -H "Content-Type: application/json" \\
  -H "Cookie: session=YOUR_SESSION" \\
  -d '{
    "input": {
      "interests": "AI, machine learning",
      "criteria": "thought leadership, contrarian views"
    }
  }'
"""
LIST_FEEDS = """curl http://localhost:3000/api/workflows/feed-discovery/runs?limit=10 \\
  -H "Cookie: session=YOUR_SESSION"
"""
SHOW_FEEDS = """curl http://localhost:3000/api/workflows/runs/RUN_ID \\
  -H "Cookie: session=YOUR_SESSION"
"""

RERUN_FEEDS = """curl -X POST http://localhost:3000/api/workflows/feed-discovery/run \\
  -H "Content-Type: application/json" \\
  -H "Cookie: session=YOUR_SESSION" \\
  -d '{
    "input": {...},
    "fromStepId": "step3"
  }'
"""


@pytest.fixture
async def api(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    stage.worker()
    stage.supervisor()
    async with open_api(stage) as client:
        yield client


async def curl(api: httpx.AsyncClient, text: str) -> httpx.Response:
    """Make the request that a curl command line makes, at our host; its cookie is none of ours, and says nothing."""
    words = shlex.split(text.replace("\\\n", " "))
    assert words.pop(0) == "curl"
    method, url, content = "GET", "", None
    headers: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            content = words.pop(0)
        else:
            url = word.removeprefix("http://localhost:3000")
    return await api.request(method, url, headers=headers, content=content, timeout=60)


async def test_a_sequential_workflow_is_run_and_read(api: httpx.AsyncClient) -> None:
    """Running it waits for its end; its runs are listed and shown with input, output, cost and steps."""
    assert (await api.post("/v1/workflows", json=FEEDS)).status_code == 201
    answer = await curl(api, RUN_FEEDS)
    assert answer.status_code == 200, answer.text
    run = answer.json()["run"]
    assert (answer.json()["success"], run["status"], run["workflowId"]) == (True, "completed", "feed-discovery")
    assert run["inputJson"]["criteria"] == "thought leadership, contrarian views"
    assert run["outputJson"]
    assert run["actualCost"] == 0
    assert run["finishedAt"] >= run["startedAt"]
    assert [(step["stepId"], step["status"]) for step in run["steps"]] == [
        ("step1", "completed"),
        ("step2", "completed"),
    ]
    listed = (await curl(api, LIST_FEEDS)).json()
    assert (listed["success"], [one["id"] for one in listed["runs"]]) == (True, [run["id"]])
    assert (await curl(api, SHOW_FEEDS.replace("RUN_ID", run["id"]))).json() == {"success": True, "run": run}
    assert (await api.get("/api/workflows/feed-discovery")).json()["workflow"]["id"] == "feed-discovery"
    assert (await curl(api, RUN_FEEDS.replace("feed-discovery", "none"))).status_code == 404


async def test_a_list_of_tasks_is_registered_run_and_approved(api: httpx.AsyncClient) -> None:
    """Tasks and dependencies are counted, a run has its task runs at once, and who is BLOCKED can be approved."""
    made = await api.post("/workflows", json=TASKS)
    assert made.status_code == 201, made.text
    told = made.json()
    assert (told["id"], told["name"], told["task_count"], told["dependency_count"]) == (
        "demo_prd",
        "PRD Generator",
        2,
        1,
    )
    assert (await api.post("/workflows", json=TASKS)).status_code == 201
    wrong = await api.post(
        "/workflows", json={"name": "x", "definition": {"tasks": [{"id": "a", "depends_on": ["b"]}]}}
    )
    assert (wrong.status_code, wrong.json()["status"], wrong.json()["title"]) == (400, 400, "Bad Request")
    assert wrong.json()["errors"]
    other = await api.post("/workflows", json={**TASKS, "name": "Other"})
    assert (other.status_code, other.json()["code"]) == (409, "workflow_exists")
    assert (await api.get("/workflows")).json() == {
        "workflows": [{"id": "demo_prd", "name": "PRD Generator", "task_count": 2}]
    }
    shown = (await api.get("/workflows/demo_prd")).json()
    assert [task["id"] for task in shown["tasks"]] == ["research", "draft"]
    assert shown["dependencies"] == [{"task_id": "draft", "depends_on_task_id": "research"}]
    started = await api.post(
        "/runs", json={"workflow_id": "demo_prd", "input": {"topic": "AI", "target_audience": "x"}}
    )
    run = started.json()
    assert (started.status_code, run["workflow_id"], run["status"]) == (201, "demo_prd", "RUNNING")
    assert [task["task_id"] for task in run["task_runs"]] == ["research", "draft"]

    async def draft() -> dict[str, Any]:
        found: dict[str, Any] = (await api.get(f"/runs/{run['id']}")).json()["task_runs"][1]
        return found

    task = await until(draft, lambda one: one["status"] in {"BLOCKED", "FAILED"})
    assert task["status"] == "BLOCKED", task
    research = (await api.get(f"/task-runs/{run['task_runs'][0]['id']}")).json()
    assert (research["status"], research["attempt"]) == ("SUCCESS", 1)
    assert research["output"]
    log = (await api.get(f"/task-runs/{research['id']}/logs")).json()
    assert log["task_run_id"] == research["id"]
    assert all(set(line) == {"timestamp", "level", "message"} for line in log["logs"])
    approved = await api.post(f"/task-runs/{task['id']}/approve", json={})
    assert (approved.status_code, approved.json()["task_id"]) == (200, "draft")
    assert approved.json()["status"] != "BLOCKED", "it is told as it is now"
    done = await until(lambda: api.get(f"/runs/{run['id']}"), lambda one: one.json()["status"] != "RUNNING")
    assert (done.json()["status"], done.json()["stepsSummary"]) == ("SUCCESS", {"SUCCEEDED": 2}), json.dumps(
        done.json()
    )
    again = await api.post(f"/task-runs/{task['id']}/approve", json={})
    assert (again.status_code, again.json()["code"]) == (409, "nothing_waits")


async def test_a_run_is_cancelled_in_both_ways(api: httpx.AsyncClient) -> None:
    """By DELETE, and by POST to cancel; its steps and artifacts are told."""
    waits = {"courante": 1, "id": "long", "nodes": [{"id": "a", "type": "signal", "config": {"name": "go"}}]}
    assert (await api.post("/v1/workflows", json=waits)).status_code == 201
    for method, ending in (("DELETE", ""), ("POST", "/cancel")):
        id = (await api.post("/runs", json={"workflow": "long"})).json()["id"]
        assert (await api.get(f"/runs/{id}/steps")).json()["steps"][0]["id"] == "a"
        assert (await api.get(f"/runs/{id}/artifacts")).json()["artifacts"] == []
        told = await api.request(method, f"/runs/{id}{ending}")
        assert told.status_code in (200, 202)
        assert method == "POST" or told.json()["status"] == "CANCELLED"
        await until(partial(api.get, f"/runs/{id}"), lambda one: one.json()["status"] == "CANCELLED")
    assert (await api.get("/task-runs/tr_none")).status_code == 404


async def test_nobody_without_a_key(stage: Stage) -> None:
    """401 at every one of these paths, with the key that they know: Authorization: Bearer KEY."""
    async with asking(stage.client) as nobody, asking(stage.client, Scope.ADMIN) as somebody:
        for route in aliases.routes.all:
            told = await nobody.request(route.method, spelled(route, "x"), json={})
            assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer"), route
            assert (await somebody.request(route.method, spelled(route, "x"), json={})).status_code != 401


async def test_what_a_task_has_made_is_shown_with_it(stage: Stage) -> None:
    """The content of an artifact, where it is text."""

    async def make(_given: object, context: Context) -> list[object]:
        return [await context.artifact(b'{"a": 1}', "application/json"), await context.artifact(b"\xff", "image/png")]

    stage.worker({"make": make})
    stage.supervisor()
    await stage.register({"id": "a", "type": "function", "config": {"handler": "make"}})
    run_id = (await stage.run("w")).run_id
    async with open_api(stage) as api:
        (task,) = (await api.get(f"/runs/{run_id}")).json()["task_runs"]
        shown = (await api.get(f"/task-runs/{task['id']}")).json()
    contents = {one["content_type"]: one["content"] for one in shown["artifacts"]}
    assert contents == {"application/json": '{"a": 1}', "image/png": None}
    assert (shown["run_id"], shown["task_id"], shown["status"], shown["attempt"]) == (run_id, "a", "SUCCESS", 1)


CHANGES = {
    "courante": 1,
    "id": "site",
    "changes": {"TEXT": ["text"]},
    "nodes": [
        {"id": "plan", "type": "noop"},
        {"id": "text", "type": "transform", "depends_on": ["plan"], "config": {"expression": "input"}},
        {"id": "page", "type": "noop", "depends_on": ["text"]},
    ],
}


async def ended(api: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        found: dict[str, Any] = (await api.get(f"/v1/runs/{run_id}", params={"wait": 30})).json()
        return found

    return await until(read, lambda run: run["finished_at"] is not None)


async def test_what_a_change_makes_out_of_date(api: httpx.AsyncClient) -> None:
    """By a change request of old, and by the API's own rebuild and rerun: only what follows is executed again."""
    assert (await api.post("/v1/workflows", json=CHANGES)).status_code == 201
    first = await ended(
        api, (await api.post("/v1/runs", json={"workflow": "site", "input": {"n": 1}})).json()["run_id"]
    )
    path = f"/v1/runs/{first['run_id']}"
    plan = (await api.post(f"{path}/rebuild", json={"changes": ["TEXT"], "dry_run": True})).json()
    assert (plan["impacted"], plan["reused"], "run_id" in plan) == (["text", "page"], ["plan"], False)
    old = await api.post(f"/runs/{first['run_id']}/update", json={"changeRequest": {"type": "TEXT"}})
    assert old.status_code == 201
    run = await ended(api, old.json()["run_id"])
    assert {step["id"]: step["status"] for step in run["steps"]} == {
        "plan": "SKIPPED",
        "text": "SUCCEEDED",
        "page": "SUCCEEDED",
    }
    assert (run["base_run_id"], run["output"]) == (first["run_id"], first["output"])
    later, change = {"Idempotency-Key": "change-7"}, {"changeRequest": {"type": "TEXT"}}
    asked = [
        await api.post(f"/runs/{first['run_id']}/update", json=change, headers=headers)
        for headers in ({}, later, later)
    ]
    assert [each.status_code for each in asked] == [201, 201, 200], "a new request is a new run, unless it has that key"
    ids = [old.json()["run_id"], *(each.json()["run_id"] for each in asked)]
    assert (len(set(ids)), ids[2]) == (3, ids[3])
    assert (await ended(api, ids[1]))["status"] == "COMPLETED"
    foreign = await api.post(f"/runs/{ids[1]}/update", json=change, headers=later)
    assert (foreign.status_code, foreign.json()["code"]) == (409, "idempotency_conflict")
    made = [await api.post(f"{path}/rebuild", json={"changes": ["TEXT"]}) for _ in range(2)]
    assert [each.status_code for each in made] == [201, 200], "the same wish is the same run"
    wrong = await api.post(f"{path}/rebuild", json={"changes": ["TXT"]})
    assert (wrong.status_code >= 400, "TEXT" in wrong.text) == (True, True)
    again = await api.post(f"{path}/rerun", json={"steps": ["page"], "input": {"n": 2}})
    run = await ended(api, again.json()["run_id"])
    assert [step["id"] for step in run["steps"] if step["status"] == "SKIPPED"] == ["plan", "text"]
    assert (await api.post("/v1/workflows", json={**CHANGES, "name": "newer"})).json()["version"] == 2
    newer = await api.post(f"/runs/{first['run_id']}/update", json=change, headers=later)
    assert (newer.status_code, newer.json()) == (200, asked[2].json()), "what was accepted is told again"
    refused = await api.post(f"/runs/{first['run_id']}/update", json=change, headers={"Idempotency-Key": "change-8"})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_restartable")


async def test_a_sequential_workflow_goes_on_from_a_step(api: httpx.AsyncClient) -> None:
    """The steps before it are not executed again."""
    third = {"id": "step3", "type": "transform", "inputMapping": {"about": "input.interests"}}
    assert (await api.post("/workflows", json={**FEEDS, "steps": [*FEEDS["steps"], third]})).status_code == 201
    path = "/api/workflows/feed-discovery/run"
    early = await api.post(path, json={"fromStepId": "step2"})
    assert early.status_code == 404
    assert (await api.post(path, json={"input": {"interests": "tea"}})).status_code == 200
    keyed = await api.post(path, json={"fromStepId": "step2"}, headers={"Idempotency-Key": "k"})
    assert (keyed.status_code, keyed.json()["code"]) == (400, "input_invalid"), "it is not done twice in silence"
    answer = (await api.post(path, json={"fromStepId": "step2"})).json()
    assert [step["status"] for step in answer["run"]["steps"]] == ["skipped", "completed", "completed"]
    told = await curl(api, RERUN_FEEDS.replace("{...}", '{"interests": "coffee"}'))
    assert (told.status_code, told.json()["success"]) == (200, True)
    run = told.json()["run"]
    assert [step["status"] for step in run["steps"]] == ["skipped", "skipped", "completed"]
    assert (run["inputJson"], run["steps"][2]["output"]) == ({"interests": "coffee"}, {"about": "coffee"})

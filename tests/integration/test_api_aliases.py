"""The paths and words of older systems: requests as their documents have them give the answers that they describe."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

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
FEEDS = {
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


@pytest.fixture
async def api(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    stage.worker()
    stage.supervisor()
    async with open_api(stage) as client:
        yield client


async def curl(api: httpx.AsyncClient, text: str) -> httpx.Response:
    """Make the request that a curl command line makes, at our host and without its cookie."""
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
    headers.pop("Cookie", None)
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
        assert (await api.request(method, f"/runs/{id}{ending}")).status_code in (200, 202)
        await until(partial(api.get, f"/runs/{id}"), lambda one: one.json()["status"] == "CANCELLED")
    assert (await api.get("/task-runs/tr_none")).status_code == 404


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
    assert (await api.post(f"{path}/rebuild", json={"changes": ["TEXT"]})).status_code == 200, "the same run"
    wrong = await api.post(f"{path}/rebuild", json={"changes": ["TXT"]})
    assert (wrong.status_code >= 400, "TEXT" in wrong.text) == (True, True)
    again = await api.post(f"{path}/rerun", json={"steps": ["page"], "input": {"n": 2}})
    run = await ended(api, again.json()["run_id"])
    assert [step["id"] for step in run["steps"] if step["status"] == "SKIPPED"] == ["plan", "text"]


async def test_a_sequential_workflow_goes_on_from_a_step(api: httpx.AsyncClient) -> None:
    """The steps before it are not executed again."""
    assert (await api.post("/workflows", json=FEEDS)).status_code == 201
    path = "/api/workflows/feed-discovery/run"
    early = await api.post(path, json={"fromStepId": "step2"})
    assert early.status_code == 404
    assert (await api.post(path, json={"input": {"interests": "tea"}})).status_code == 200
    keyed = await api.post(path, json={"fromStepId": "step2"}, headers={"Idempotency-Key": "k"})
    assert (keyed.status_code, keyed.json()["code"]) == (422, "input_invalid"), "it is not done twice in silence"
    answer = (await api.post(path, json={"fromStepId": "step2"})).json()
    assert [step["status"] for step in answer["run"]["steps"]] == ["skipped", "completed"]

"""What the API refuses of runs of which not everything is there any more is what its document says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from courante import Context
from courante.api.reading.task_ids import task_id
from courante.api.routes import ROUTES
from courante.supervisor.retention.collector import Collector
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.retention import Retention
from integration.api_asking import SAFE, STREAM, named, spelled
from integration.http_calls import open_server
from integration.schema_cases import DOCUMENT, check_code
from integration.stage import Stage

pytestmark = pytest.mark.anyio
LATER, MONTH = timedelta(days=400), timedelta(days=30)
BODIES: dict[str, dict[str, Any]] = {
    "signal": {"name": "s"},
    "budget": {"tokens": 1},
    "force": {"end": "skip"},
    "fork": {"at": 1},
    "rerun": {"steps": ["a"]},
    "rebuild": {"steps": ["a"]},
    "update": {"changeRequest": {"type": "t"}},
    "forget": {"dry_run": True},
}
QUERIES = {"diff": {"from": 1, "to": 2}}


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own: retention is of all environments."""
    return own_migrated_database


async def ended(stage: Stage) -> str:
    """A run with an artifact that is text."""

    async def make(_given: object, context: Context) -> object:
        return {"file": await context.artifact(b"tea", "text/plain"), "more": "y" * 20_000}

    stage.supervisor()
    stage.worker({"make": make}, database_url=stage.place.database_url)
    await stage.register({"id": "a", "type": "function", "config": {"handler": "make"}})
    return (await stage.run("w", {"name": "ann"})).run_id


async def retain(stage: Stage, policy: Policy) -> None:
    """As if a year had gone by."""
    servers = stage.redis, stage.client.pool, stage.client.keys
    await Collector(*servers, hot_s=0).sweep()  # what is in Redis yet is not dropped
    await Retention(*servers, policy, now=datetime.now(UTC) + LATER).carry_out()


async def ask_all(api: httpx.AsyncClient, run_id: str, digest: str) -> dict[str, tuple[int, str]]:
    """Ask every route about a run, as a page and as a stream; return status and code of what is refused.

    Raises AssertionError of what is a fault, or that the document does not say.
    """
    refused: dict[str, tuple[int, str]] = {}
    places = {"run_id": run_id, "id": task_id(run_id, "a", ""), "step": "a", "digest": digest}
    for route in sorted(ROUTES, key=lambda one: one.method not in SAFE):
        if "run_id" not in route.places and not route.path.startswith("/task-runs/"):
            continue
        last = route.path.rpartition("/")[2]
        path, body = spelled(route, "", **places), None if route.method in SAFE else BODIES.get(last, {})
        for headers in ({}, {"Accept": STREAM})[: 1 + route.has_stream]:
            answer = await api.request(route.method, path, params=QUERIES.get(last), json=body, headers=headers)
            kind = answer.headers.get("content-type", "")
            check_code(route, answer.status_code, kind, answer.content)
            told = DOCUMENT["paths"][route.path][route.method.lower()]["responses"][str(answer.status_code)]
            assert answer.status_code < 500, (named(route), answer.text)
            assert kind.partition(";")[0] in told.get("content", {"": None}), (named(route), answer.status_code, kind)
            if answer.status_code >= 400:
                refused[f"{named(route)}{' as a stream' if headers else ''}"] = (
                    answer.status_code,
                    answer.json()["code"],
                )
    return refused


async def test_a_run_whose_log_was_moved_away(stage: Stage) -> None:
    """Who asks for events, as a page or as they come, is told where they are, and not that there were none."""
    run_id, gone = await ended(stage), (410, "log_archived")
    (found,) = await stage.client.artifacts.of_run(run_id)
    async with open_server(stage) as api:
        before = await ask_all(api, run_id, found.artifact.digest)
        await retain(stage, Policy(log=MONTH))
        refused = await ask_all(api, run_id, found.artifact.digest)
        for query in ({"run_id": run_id}, {"workflow": "w"}, {"since": "1h"}):
            bundle = await api.get("/v1/audit", params=query)
            assert (bundle.status_code, bundle.json()["code"]) == gone, query
        named = await api.post("/v1/audit/export", json={"runs": [run_id]})
        assert (named.status_code, named.json()["code"]) == gone
        assert (await api.get("/v1/audit", params={"workflow": "none"})).status_code == 200
    assert gone not in before.values()
    for part in ("events", "events as a stream", "artifacts", "artifacts/{digest}", "state", "verify", "audit"):
        assert refused[f"GET /v1/runs/{{run_id}}/{part}"] == gone, part
    for shown in ("", "/steps", "/cost", "/logs", "/logs as a stream"):
        assert f"GET /v1/runs/{{run_id}}{shown}" not in refused, shown
    for shown in ("/runs/{run_id}", "/task-runs/{id}", "/task-runs/{id}/logs", "/api/workflows/runs/{run_id}"):
        assert f"GET {shown}" not in refused, shown


async def test_a_run_whose_artifacts_were_dropped(stage: Stage) -> None:
    """Only who asks for the content is told that it is gone; what names it is shown as before, in old words too."""
    run_id = await ended(stage)
    (found,) = await stage.client.artifacts.of_run(run_id)
    await retain(stage, Policy(artifacts=MONTH))
    async with open_server(stage) as api:
        (task,) = (await api.get(f"/runs/{run_id}")).json()["task_runs"]
        shown = (await api.get(f"/task-runs/{task['id']}")).json()["artifacts"]
        refused = await ask_all(api, run_id, found.artifact.digest)
    assert [told for told in refused.items() if told[1][0] == 410] == [
        ("GET /v1/runs/{run_id}/artifacts/{digest}", (410, "artifact_gone"))
    ]
    assert [(one["id"], one["content"]) for one in shown] == [(found.artifact.digest, None)]


async def test_a_run_that_was_forgotten(stage: Stage) -> None:
    """What is refused of it is refused for that, by a code that the document has."""
    run_id = await ended(stage)
    (found,) = await stage.client.artifacts.of_run(run_id)
    async with open_server(stage) as api:
        assert (await api.post(f"/v1/runs/{run_id}/forget", json={"reason": "asked"})).status_code == 200
        refused = await ask_all(api, run_id, found.artifact.digest)
    for shown in ("/v1/runs/{run_id}", "/runs/{run_id}", "/task-runs/{id}", "/v1/runs/{run_id}/artifacts"):
        assert f"GET {shown}" not in refused, shown

"""Every route of the API is blind to other environments: with every scope, and with ids that are right there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec
import pytest

from courante import Context, Deferred, FatalError
from courante.api.bodies import decode_body
from courante.api.reading.task_ids import task_id
from courante.api.route import Route
from courante.api.routes import ROUTES
from courante.sdk.access.scopes import Scope
from courante.sdk.errors import RunNotFound
from courante.sdk.schedules.schedule import Schedule
from courante.sdk.stores.alerts import Alert, AlertKind, replace_alerts
from courante.sdk.stores.workers import WorkerRow, announce_workers
from integration.api_asking import SAFE, STREAM, asking, named, spelled
from integration.contents import keys, rows
from integration.http_calls import listen_to, open_server
from integration.stage import Place, Stage, open_stage, until

pytestmark = pytest.mark.anyio
MARK = "only-in-the-other"
HEARD_S = 20
UNKNOWN = f"run_{'0' * 26}"
BY_NAME = (
    "POST /v1/workflows/{workflow}/resume",
    "POST /v1/queues/{queue}/pause",
    "POST /v1/queues/{queue}/resume",
)
"""Of names that nobody need have used before: they are this environment's own."""


@dataclass
class Other:
    """An environment with something of everything, where nobody works any more. ``ids``: by what they are of."""

    stage: Stage
    ids: dict[str, str]
    tokens: list[str] = field(default_factory=lambda: [])


@pytest.fixture
async def other(redis_url: str, migrated_database: str, env_name: str) -> AsyncIterator[Other]:
    async with open_stage(Place(redis_url, migrated_database, f"{env_name}o")) as stage:
        yield await _furnish(stage)


def bodies_of(route: Route, other: Other) -> list[Any]:
    """What to send: nothing, and what would do something if it were not another environment's."""
    ids = other.ids
    known: dict[str, Any] = {
        "POST /v1/runs": {"workflow": ids["workflow"]},
        "POST /v1/runs/batch": {"runs": [{"workflow": ids["workflow"]}]},
        "POST /v1/runs/{run_id}/signal": {"name": "s"},
        "POST /v1/runs/{run_id}/budget": {"tokens": 5},
        "POST /v1/runs/{run_id}/steps/{step}/force": {"end": "skip"},
        "POST /v1/runs/{run_id}/fork": {"at": 1},
        "POST /v1/runs/{run_id}/rerun": {"steps": ["a"]},
        "POST /v1/runs/{run_id}/rebuild": {"steps": ["a"]},
        "POST /runs/{run_id}/update": {"changeRequest": {"type": "t"}},
        "POST /v1/runs/retry": {"runs": {"since": "1h"}},
        "POST /v1/runs/rerun": {"runs": {"since": "1h"}, "steps": ["a"]},
        "POST /v1/runs/rebuild": {"runs": {"since": "1h"}, "steps": ["a"]},
        "POST /v1/runs/fork": {"runs": {"since": "1h"}, "at": 1},
        "POST /v1/steps/complete": {"token": other.tokens[0]},
        "POST /v1/steps/fail": {"token": other.tokens[0], "reason": "x"},
        "POST /v1/dead-letters/requeue": {"runs": [ids["failed"]]},
        "POST /v1/dead-letters/drop": {"places": [{"run_id": ids["failed"]}]},
        "PUT /v1/schedules/{id}": {"workflow": ids["workflow"], "cron": "@daily"},
        "POST /v1/schedules/{id}/backfill": {"since": "2026-01-01T00:00:00Z", "until": "2026-01-03T00:00:00Z"},
        "POST /v1/keys": {"name": "x", "scopes": ["read"]},
        "POST /v1/webhooks": {"name": "x", "url": "http://127.0.0.1:9/", "on": ["run.ended"]},
        "POST /v1/audit/export": {"runs": [ids["failed"]]},
        "POST /v1/runs/forget": {"runs": [ids["failed"]]},
        "POST /v1/audit/anchors/draft": {"key": "0" * 64},
        "POST /v1/audit/anchors/sign": {"line": "{}"},
        "POST /v1/login": {"key": ids["key"]},
    }
    if named(route) in known:
        body = known[named(route)]
        decode_body(msgspec.json.encode(body), "application/json", route.body)  # or it would be refused whoever asks
        return [body]
    required = [each.name for each in msgspec.structs.fields(route.body) if each.required]
    is_raw = required == ["content", "is_json"]
    assert is_raw or not required, f"say in this test what {named(route)} takes"
    return [None if route.method in SAFE else {}]


async def test_nothing_is_told_and_nothing_changes(stage: Stage, other: Other) -> None:
    """A foreign id is answered as an unknown one; what is asked of it is not done."""
    before = await rows(other.stage), await keys(other.stage)
    async with asking(stage.client, Scope.ADMIN) as client:
        for route in sorted(ROUTES, key=lambda route: route.method not in SAFE):  # before lists are long
            if route.media_type == STREAM:
                continue
            for id in dict.fromkeys(other.ids.values()) if route.places else [""]:
                path = spelled(route, id, **{place: other.ids.get(place, id) for place in route.places[1:]})
                for body in bodies_of(route, other):
                    answer = await client.request(route.method, path, json=body)
                    told = (named(route), path, answer.status_code, answer.text)
                    assert MARK not in answer.text, told
                    for run_id in (other.ids["run_id"], other.ids["failed"]):
                        is_said = answer.status_code >= 400 or run_id in path or run_id in json.dumps(body)
                        assert is_said or run_id not in answer.text, told
                    assert answer.status_code < 500, told
                    if route.places and named(route) not in BY_NAME:
                        assert answer.status_code >= 400, told
    assert (await rows(other.stage), await keys(other.stage)) == before


async def test_the_same_is_there_for_who_belongs_there(other: Other) -> None:
    """Or the test above would find nothing: in its own environment each of these ids is found."""
    ids = other.ids
    paths = [
        f"/v1/runs/{ids['run_id']}",
        f"/v1/runs/{ids['run_id']}/steps",
        f"/v1/runs/{ids['run_id']}/events",
        f"/v1/runs/{ids['run_id']}/artifacts/{ids['digest']}",
        f"/v1/runs/{ids['failed']}/cost",
        f"/v1/workflows/{ids['workflow']}",
        f"/v1/schedules/{ids['id']}",
    ]
    async with asking(other.stage.client, Scope.ADMIN) as client:
        for listed in (
            "webhooks",
            "webhooks/dead",
            "operators",
            "keys",
            "workers?all=true",
            "health",
            "runs",
            "workflows",
        ):
            assert MARK in (await client.get(f"/v1/{listed}")).text, listed
        for path in paths:
            assert (await client.get(path)).status_code == 200, path
        for path, name in (("/v1/approvals", "approvals"), ("/v1/dead-letters", "dead_letters")):
            assert len((await client.get(path)).json()[name]) == 1, path


async def test_a_workflow_that_is_here_too_leads_to_no_run_of_the_other(stage: Stage, other: Other) -> None:
    """Who registers the same documents in dev and in prod has the same graphs there, and other runs.

    Of a run of the other environment nothing is told that is not told of one that never was: in a path, in a query or
    in a body, as a page or as a stream.
    """
    await _register(stage)
    before = await rows(other.stage), await keys(other.stage)
    async with asking(stage.client, Scope.ADMIN) as client:
        for route in ROUTES:
            for foreign in (other.ids["run_id"], other.ids["failed"]):
                for theirs, nobodys in zip(
                    requests_about(route, foreign, other), requests_about(route, UNKNOWN, other), strict=True
                ):
                    told = await client.request(**theirs)
                    wanted = await client.request(**nobodys)
                    assert told.status_code == wanted.status_code, (theirs, told.text)
                    assert told.text.replace(foreign, UNKNOWN) == wanted.text, theirs
    with pytest.raises(RunNotFound):
        await stage.client.result(other.ids["failed"])
    assert (await rows(other.stage), await keys(other.stage)) == before


async def test_a_stream_of_all_runs_is_of_one_environment(stage: Stage, other: Other) -> None:
    """From the beginning of all times on: what the other one has done since then is none of it."""
    stage.worker()
    stage.supervisor()
    run_id = (await stage.run(await stage.register({"id": "a", "type": "noop"}))).run_id
    heard: list[str] = []
    async with open_server(stage) as api:
        with anyio.fail_after(HEARD_S):
            async for event in listen_to(api, "/v1/events", "0-run_none-1"):
                heard.append(event.data["run_id"])
                if event.data["type"] == "run.completed":
                    break
    assert set(heard) == {run_id}
    assert await other.stage.events(other.ids["failed"])


async def test_a_key_of_a_submission_is_of_one_environment(stage: Stage) -> None:
    """The same words there are another request, and neither is taken for the other."""
    body, headers = {"workflow": "w", "input": 1}, {"Idempotency-Key": "tea"}
    async with open_stage(replace(stage.place, env=f"{stage.place.env}o")) as there:
        for each in (stage, there):
            await each.register({"id": "a", "type": "noop"})
        async with asking(stage.client, Scope.SUBMIT) as here, asking(there.client, Scope.SUBMIT) as elsewhere:
            one = (await here.post("/v1/runs", json=body, headers=headers)).json()["run_id"]
            other = await elsewhere.post("/v1/runs", json=body | {"input": 2}, headers=headers)
            assert (other.status_code, other.json()["run_id"] == one) == (201, False)
            assert (await here.post("/v1/runs", json=body, headers=headers)).json()["run_id"] == one


def requests_about(route: Route, run_id: str, other: Other) -> list[dict[str, Any]]:
    """All ways to ask a route about a run, as the arguments of a request."""
    places = other.ids | {"run_id": run_id, "id": task_id(run_id, "step", "")}
    is_of_run = "run_id" in route.places or route.path.startswith("/task-runs/")
    asked: dict[str, Any] = {"method": route.method, "url": spelled(route, "", **places)}
    failed = other.ids["failed"]
    bodies = [json.loads(json.dumps(body).replace(failed, run_id)) for body in bodies_of(route, other)]
    found: list[dict[str, Any]] = []
    if is_of_run:
        found += [asked | {"json": body} for body in bodies]
        found += [asked | {"headers": {"Accept": STREAM}}] * route.has_stream
    elif failed in json.dumps(bodies_of(route, other)):
        found += [asked | {"json": body} for body in bodies]
    names = {each.encode_name for each in msgspec.structs.fields(route.query)}
    return found + [asked | {"params": {name: run_id}} for name in ("run_id", "parent") if name in names]


async def _register(stage: Stage) -> tuple[str, str]:
    """A workflow with a bit of everything, and one that fails."""

    def function(id: str, handler: str, **more: object) -> dict[str, object]:
        return {"id": id, "type": "function", "config": {"handler": handler}, **more}

    flow: list[dict[str, object]] = [
        function("make", "make"),
        function("step", "defer", depends_on="make"),
        {"id": "ask", "type": "approval"},
    ]
    workflow = await stage.register(*flow, id="other-flow", name=MARK)
    return workflow, await stage.register(function("a", "breaks"), id="other-fails")


async def _furnish(stage: Stage) -> Other:
    tokens: list[str] = []

    async def make(_value: object, context: Context) -> object:
        return await context.artifact(MARK.encode() * 10, "text/plain")

    async def defer(_value: object, context: Context) -> Deferred:
        deferred = context.defer()
        tokens.append(deferred.token)
        return deferred

    def breaks(_value: object) -> None:
        raise FatalError(MARK)

    workflow, failing = await _register(stage)
    stage.worker({"make": make, "defer": defer, "breaks": breaks})
    stage.supervisor()
    run_id = await stage.client.submit(workflow, {"note": MARK}, tags=[MARK])
    failed = (await stage.run(failing, {"note": MARK})).run_id
    await until(anyio.lowlevel.checkpoint, lambda _: len(tokens) == 1)
    await until(lambda: stage.types(run_id), lambda types: types.count("step.waiting") == 2)
    await stage.client.schedules.create(Schedule(id="other-clock", workflow=workflow, cron="@daily", note=MARK))
    await stage.client.webhooks.add("other-hook", "http://127.0.0.1:9/", ["run.ended"], workflow=MARK)
    _, key = await stage.client.access.create_key(MARK, ["admin"], by=MARK)
    await _leave_word(stage)
    (artifact,) = await stage.client.artifacts.of_run(run_id)
    for number in range(2):
        await stage.kill(number)
    ids = {"run_id": run_id, "failed": failed, "workflow": workflow, "step": "step", "id": "other-clock", "key": key}
    ids["name"] = "other-hook"
    return Other(stage, ids | {"digest": artifact.artifact.digest}, tokens)


async def _leave_word(stage: Stage) -> None:
    """What nobody asked for: a worker that is gone, an alert, and a request of a webhook that nobody took."""
    env, now = stage.place.env, datetime.now(UTC)
    worker = WorkerRow(
        consumer="c", host=MARK, pid=1, build="b", handlers=(), queues=("default",), started_at=now, last_seen=now
    )
    alert = Alert(kind=AlertKind.RUN_STUCK, subject=MARK, message=MARK, since=now)
    dead = "INSERT INTO webhook_deliveries (env, webhook, event_id, body, state) VALUES ($1, $2, $3, $4, 'dead')"
    async with stage.client.pool.acquire() as conn:
        await announce_workers(conn, env, [worker])
        await replace_alerts(conn, env, AlertKind.RUN_STUCK, [alert])
        await conn.execute(dead, env, "other-hook", MARK, json.dumps(MARK))

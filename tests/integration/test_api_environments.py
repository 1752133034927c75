"""Every route of the API is blind to other environments: with every scope, and with ids that are right there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest

from courante import Context, Deferred, FatalError
from courante.api.route import Route
from courante.api.routes import ROUTES
from courante.sdk.access.scopes import Scope
from courante.sdk.schedules.schedule import Schedule
from integration.api_asking import SAFE, STREAM, asking, named, spelled
from integration.stage import Place, Stage, open_stage, until

pytestmark = pytest.mark.anyio
MARK = "only-in-the-other"


@dataclass
class Other:
    """An environment with something of everything, where nobody works any more. ``ids``: by what they are of."""

    stage: Stage
    ids: dict[str, str]
    tokens: list[str] = field(default_factory=lambda: [])

    async def contents(self) -> dict[str, str | None]:
        """A digest of every table's rows of the environment."""
        tables = """SELECT c.table_name
                      FROM information_schema.columns c JOIN information_schema.tables t USING (table_name)
                     WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.column_name = 'env'"""
        digest = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t WHERE env = $1"
        async with self.stage.client.pool.acquire() as conn:
            names = [row[0] for row in await conn.fetch(tables)]
            return {name: await conn.fetchval(digest.format(name), self.stage.place.env) for name in names}

    async def keys(self) -> dict[bytes, object]:
        """Every key of the environment in Redis, with its value."""
        redis, pattern = self.stage.redis, f"courante:{self.stage.place.env}:*"
        return {key: await redis.execute_command("DUMP", key) async for key in redis.scan_iter(match=pattern)}


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
        "POST /v1/steps/complete": {"token": other.tokens[0]},
        "POST /v1/steps/fail": {"token": other.tokens[0], "reason": "x"},
        "POST /v1/dead-letters/requeue": {"runs": [ids["failed"]]},
        "POST /v1/dead-letters/drop": {"places": [{"run_id": ids["failed"]}]},
        "PUT /v1/schedules/{id}": {"workflow": ids["workflow"], "cron": "@daily"},
        "POST /v1/login": {"key": ids["key"]},
    }
    if named(route) in known:
        return [known[named(route)]]
    required = [each.name for each in msgspec.structs.fields(route.body) if each.required]
    is_raw = required == ["content", "is_json"]
    assert is_raw or not required, f"say in this test what {named(route)} takes"
    return [None if route.method in SAFE else {}]


async def test_nothing_is_told_and_nothing_changes(stage: Stage, other: Other) -> None:
    """A foreign id is answered as an unknown one; what is asked of it is not done."""
    contents, keys = await other.contents(), await other.keys()
    async with asking(stage.client, Scope.ADMIN) as client:
        for route in ROUTES:
            if route.media_type == STREAM:
                continue
            for id in dict.fromkeys(other.ids.values()) if route.places else [""]:
                path = spelled(route, id, **{place: other.ids.get(place, id) for place in route.places[1:]})
                for body in bodies_of(route, other):
                    answer = await client.request(route.method, path, json=body)
                    told = (named(route), path, answer.status_code, answer.text)
                    assert MARK not in answer.text, told
                    assert answer.status_code < 500, told
                    if route.places:
                        assert answer.status_code >= 400, told
    assert await other.contents() == contents
    assert await other.keys() == keys


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
    async with asking(other.stage.client, Scope.READ) as client:
        for path in paths:
            assert (await client.get(path)).status_code == 200, path
        for path, name in (("/v1/approvals", "approvals"), ("/v1/dead-letters", "dead_letters")):
            assert len((await client.get(path)).json()[name]) == 1, path


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

    def function(id: str, handler: str, **more: object) -> dict[str, object]:
        return {"id": id, "type": "function", "config": {"handler": handler}, **more}

    flow: list[dict[str, object]] = [
        function("make", "make"),
        function("step", "defer", depends_on="make"),
        {"id": "ask", "type": "approval"},
    ]
    workflow = await stage.register(*flow, id="other-flow", name=MARK)
    failing = await stage.register(function("a", "breaks"), id="other-fails")
    stage.worker({"make": make, "defer": defer, "breaks": breaks})
    stage.supervisor()
    run_id = await stage.client.submit(workflow, {"note": MARK}, tags=[MARK])
    failed = (await stage.run(failing, {"note": MARK})).run_id
    await until(anyio.lowlevel.checkpoint, lambda _: len(tokens) == 1)
    await until(lambda: stage.types(run_id), lambda types: types.count("step.waiting") == 2)
    await stage.client.schedules.create(Schedule(id="other-clock", workflow=workflow, cron="@daily", note=MARK))
    _, key = await stage.client.access.create_key(MARK, ["admin"])
    (artifact,) = await stage.client.artifacts.of_run(run_id)
    for number in range(2):
        await stage.kill(number)
    ids = {"run_id": run_id, "failed": failed, "workflow": workflow, "step": "step", "id": "other-clock", "key": key}
    return Other(stage, ids | {"digest": artifact.artifact.digest}, tokens)

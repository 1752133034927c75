"""Over HTTP: bundles that can be checked, anchors, what a run was after any event, and runs that are forgotten."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest

from courante.api import bundles
from courante.api.app import as_anybody, build_app
from courante.api.backend import open_backend
from courante.replay.audit.anchors import make_anchor
from courante.replay.audit.export import Exporter
from courante.replay.audit.verify import verify_bundle
from courante.sdk.access.scopes import Scope
from integration.api_asking import asking
from integration.cases import node, says, waits
from integration.gated import served
from integration.http_calls import open_api, settings_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


async def test_runs_are_bundled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One or those that are chosen, whole and as they are checked elsewhere; never more than two at once."""
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"), node("b", "a"))
    runs = [(await stage.run("w", f"secret word {n}")).run_id for n in range(3)]
    async with stage.client.pool.acquire() as conn:
        anchored = await make_anchor(conn, stage.place.env, None)
    async with open_api(stage) as api:
        answer = await api.get(f"/v1/runs/{runs[0]}/audit")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jsonl")
        assert json.loads(answer.content.splitlines()[0])["by"] == "anonymous"
        found = await verify_bundle(io.BytesIO(answer.content))
        assert (found.ok, found.runs, found.env) == (True, 1, stage.place.env)
        assert b"secret word" in answer.content
        bare = await api.get(f"/v1/runs/{runs[0]}/audit", params={"payloads": "false"})
        assert b"secret word" not in bare.content
        many = await api.get("/v1/audit", params={"workflow": "w", "since": "1h", "by": "ann"})
        assert (await verify_bundle(io.BytesIO(many.content))).runs == 3
        named = await api.get("/v1/audit", params={"run_id": runs[1:]})
        assert (await verify_bundle(io.BytesIO(named.content))).runs == 2
        asked = await api.post("/v1/audit/export", json={"runs": runs, "payloads": False})
        assert (await verify_bundle(io.BytesIO(asked.content))).runs == 3
        assert b"secret word" not in asked.content
        assert (await api.get("/v1/runs/run_none/audit")).json()["code"] == "run_not_found"
        missing = await api.post("/v1/audit/export", json={"runs": [*runs, "run_none"]})
        assert (missing.status_code, missing.json()["detail"]) == (404, "there is no run run_none")
        for query in ({}, {"run_id": runs[0], "workflow": "w"}, {"status": "tired"}):
            assert (await api.get("/v1/audit", params=query)).json()["code"] == "query_invalid", query
        monkeypatch.setattr(bundles, "AT_ONCE", 0)
        refused = await api.get(f"/v1/runs/{runs[0]}/audit")
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
            429,
            "rate_limited",
            "30",
        )
        assert (await api.get("/v1/audit/anchors")).content == anchored.content + b"\n"
    monkeypatch.undo()
    async with asking(stage.client, Scope.OPERATE) as operator, asking(stage.client, Scope.READ) as reader:
        for path in (f"/v1/runs/{runs[0]}/audit", f"/v1/audit?run_id={runs[0]}"):  # payloads are for who may read
            assert (await operator.get(path)).json()["code"] == "forbidden", path
            assert b"secret word" in (await reader.get(path)).content, path


async def test_who_goes_away_in_the_middle_ends_a_bundle(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read on for nobody, and the next one may come."""
    begun: list[str] = []

    class Counting(Exporter):
        async def add(self, run_id: str) -> None:
            begun.append(run_id)
            await super().add(run_id)

    monkeypatch.setattr(bundles, "Exporter", Counting)
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"))
    runs = [(await stage.run("w", "x" * 1_000_000)).run_id for _ in range(16)]
    place = stage.place
    async with open_backend(stage.client, settings_of(place), place.redis_url) as backend:
        app = as_anybody(build_app(backend), place.env)
        async with served(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as api:
            async with api.stream("GET", "/v1/audit", params={"run_id": runs}) as answer:
                async for _ in answer.aiter_bytes(1_000):
                    break
                assert len(backend.exporting) == 1

            async def under_way() -> int:
                return len(backend.exporting)

            await until(under_way, lambda count: not count)
            assert len(begun) < len(runs)
            whole = await api.get(f"/v1/runs/{runs[0]}/audit")
            assert (await verify_bundle(io.BytesIO(whole.content))).ok
            count = len(begun)
            assert (await api.head("/v1/audit", params={"run_id": runs})).headers["content-type"] == "application/jsonl"
            assert len(begun) == count


async def test_a_run_after_any_of_its_events(stage: Stage) -> None:
    """Its state, and what differs between two."""
    stage.worker()
    stage.supervisor()
    await stage.register(says("a", value=1), waits("s", "a", name="go"))
    run_id = await stage.client.submit("w")
    types = await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    place = f"/v1/runs/{run_id}"
    async with open_api(stage) as api:

        async def state(**query: Any) -> dict[str, Any]:
            found: dict[str, Any] = (await api.get(f"{place}/state", params=query)).json()
            return found

        assert (await state(at=1))["seq"] == 1
        last = await state()
        assert (last["seq"], last["outputs"]) == (len(types), [{"node": "a", "scope": "", "value": 1}])
        assert (await state(at=99))["code"] == "event_not_found"
        told = (await api.get(f"{place}/diff", params={"from": 1, "to": len(types)})).json()
        assert (told["from"], told["to"]) == (1, len(types))
        assert {"place": ["outputs", "a"], "before": None, "after": 1} in told["changes"]
        assert (await api.get(f"{place}/diff", params={"from": 1})).json()["code"] == "query_invalid"
        assert (await api.get("/v1/runs/run_none/state")).json()["code"] == "run_not_found"


async def test_a_run_is_forgotten(stage: Stage) -> None:
    """When it has ended, by an administrator; that it was stays."""
    stage.worker()
    stage.supervisor()
    await stage.register(says("a", value="secret word"))
    await stage.register(waits("s", name="go"), id="open")
    run_id, goes_on = (await stage.run("w")).run_id, await stage.client.submit("open")
    async with asking(stage.client, Scope.ADMIN) as admin, asking(stage.client, Scope.OPERATE) as operator:
        place = f"/v1/runs/{run_id}"
        assert (await operator.post(f"{place}/forget")).json()["code"] == "forbidden"
        dry = (await admin.post(f"{place}/forget", json={"dry_run": True})).json()
        assert (dry["dry_run"], dry["forgotten"], dry["events"] > 0) == (True, [run_id], True)
        assert "secret word" in (await admin.get(place)).text
        done = (await admin.post(f"{place}/forget", json={"reason": "asked to", "by": "ann"})).json()
        assert (done["forgotten"], done["by"], done["related"]) == ([run_id], "admin: ann", [])
        shown = (await admin.get(place)).json()
        assert "secret word" not in str(shown)
        assert shown["forgotten"]["reason"] == "asked to"
        again = (await admin.post("/v1/runs/forget", json={"runs": [run_id]})).json()
        assert (again["forgotten"], again["before"][0]["by"]) == ([run_id], "admin: ann")
        for which in ({}, {"runs": [run_id], "tag": "x"}, {"runs": [run_id], "before": "2026-01-01T00:00:00Z"}):
            assert (await admin.post("/v1/runs/forget", json=which)).json()["code"] == "input_invalid", which
        early = await admin.post(f"/v1/runs/{goes_on}/forget")
        assert (early.status_code, early.json()["code"]) == (409, "run_not_ended")

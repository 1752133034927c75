"""Over HTTP: logs that are verified, and runs that are routed by another version; aside from what else is asked."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import httpx
import pytest

from courante.api.app import as_anybody, build_app
from courante.api.backend import open_backend
from courante.api.routes import replays
from courante.replay.verify import Verification
from courante.sdk.stores.connection import Connection
from integration.cases import node
from integration.gated import served
from integration.http_calls import open_api, settings_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
OTHER = "courante: 1\nid: w\nnodes: [{id: a, type: noop}, {id: b, type: noop, depends_on: a, when: 'false'}]\n"
YAML = {"Content-Type": "application/yaml"}


async def ended(stage: Stage) -> str:
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"), node("b", "a"))
    return (await stage.run("w")).run_id


async def test_a_log_is_verified(stage: Stage) -> None:
    """One that does not hold together is an answer too, with the first difference."""
    run_id = await ended(stage)
    async with open_api(stage) as api:
        found = (await api.get(f"/v1/runs/{run_id}/verify")).json()
        assert (found["ok"], found["run_id"], found["first_difference"]) == (True, run_id, None)
        async with stage.client.pool.acquire() as conn:
            await conn.execute("UPDATE runs SET workflow = 'v' WHERE run_id = $1", run_id)
        found = (await api.get(f"/v1/runs/{run_id}/verify")).json()
        assert (found["ok"], found["first_difference"]["what"]) == (False, "run.workflow")
        assert (await api.get("/v1/runs/run_none/verify")).json()["code"] == "run_not_found"


async def test_a_run_is_routed_by_another_version(stage: Stage) -> None:
    """One that is registered, or a document that is not."""
    place = f"/v1/runs/{await ended(stage)}/what-if"
    async with open_api(stage) as api:
        assert (await api.get(place)).json()["verdict"] == "same"
        for version in ("1", "latest"):
            assert (await api.get(place, params={"version": version})).json()["verdict"] == "same", version
        other = (await api.post(place, content=OTHER, headers=YAML)).json()
        assert (other["verdict"], other["decisions"][0]["step"]) == ("differs", "b")
        refused = {
            "workflow_not_found": await api.get(place, params={"version": "7"}),
            "query_invalid": await api.get(place, params={"version": "seven"}),
            "document_invalid": await api.post(place, content="courante: 1", headers=YAML),
            "run_not_found": await api.get("/v1/runs/run_none/what-if"),
        }
        assert {code: answer.json()["code"] for code, answer in refused.items()} == {code: code for code in refused}
        assert len((await api.get("/v1/workflows/w")).json()["versions"]) == 1


async def test_it_is_done_aside_and_for_nobody_no_longer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread with a connection of its own; it ends, and lets that go, when whoever asks has gone."""
    run_id = await ended(stage)
    begun: list[tuple[int, Any]] = []
    left: list[bool] = []

    async def stand(conn: Connection, env: str, run_id: str) -> Verification:
        del env, run_id
        begun.append((threading.get_ident(), conn))
        try:
            await anyio.sleep_forever()
        finally:
            left.append(conn.is_closed())
        raise AssertionError

    monkeypatch.setattr(replays, "verify_run", stand)
    place = stage.place
    async with open_backend(stage.client, settings_of(place), place.redis_url) as backend:
        app = as_anybody(build_app(backend), place.env)
        async with served(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as api:
            async with anyio.create_task_group() as group:
                group.start_soon(api.get, f"/v1/runs/{run_id}/verify")
                await until(lambda: size(begun), lambda count: count == 1)
                assert (await api.get(f"/v1/runs/{run_id}")).status_code == 200
                group.cancel_scope.cancel()
            await until(lambda: size(left), lambda count: count == 1)
            (thread, conn), *_ = begun
            assert (thread == threading.get_ident(), left) == (False, [False])

            async def is_closed() -> bool:
                closed: bool = conn.is_closed()
                return closed

            await until(is_closed, lambda closed: closed)


async def size(found: list[Any]) -> int:
    return len(found)

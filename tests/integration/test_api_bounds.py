"""What one caller asks of the API costs no other: pages are bounded, and the reader of all streams outlives trouble."""

from __future__ import annotations

import anyio
import httpx
import pytest

from courante.api import health_word
from courante.api.reading import aliases, events
from courante.sdk.access.scopes import Scope
from courante.sdk.health.health import Health, Limits
from integration.api_asking import asking
from integration.http_calls import open_api, open_server
from integration.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_page_of_payloads_ends_early(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are large it has fewer events than were asked for, and says where the next page begins."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"})
    run_id = (await stage.run("w", {"text": "x" * 100})).run_id
    async with open_api(stage) as api:
        whole = (await api.get(f"/v1/runs/{run_id}/events", params={"payloads": True})).json()["events"]
        assert len([event for event in whole if "payload" in event["data"]]) > 1
        monkeypatch.setattr(events, "PAYLOADS_BYTES_MAX", 50)
        found, after, pages = [], 0, 0
        while after is not None:
            answer = await api.get(f"/v1/runs/{run_id}/events", params={"payloads": True, "after": after})
            found += answer.json()["events"]
            after, pages = answer.json()["next"], pages + 1
        assert (found, pages > 1) == (whole, True)


async def test_strangers_ask_for_the_health_as_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, the servers are asked once in a while; who may read is told how it is now."""
    judged: list[object] = []
    judge = stage.client.health

    async def counted(*limits: Limits) -> Health:
        judged.append(limits)
        return await judge(*limits)

    monkeypatch.setattr(stage.client, "health", counted)
    monkeypatch.setattr(health_word, "KEPT_S", 3_600.0)
    async with asking(stage.client) as stranger, asking(stage.client, Scope.READ) as reader:
        answers: list[httpx.Response] = []

        async def ask(path: str) -> None:
            answers.append(await stranger.get(path))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask, "/health")
                group.start_soon(ask, "/v1/health")
        assert [one.json() for one in answers] == [{"status": "CRITICAL"}] * 40
        assert len(judged) == 1
        for _ in range(2):
            assert "reasons" in (await reader.get("/v1/health")).json()
        assert len(judged) == 3


async def test_the_paths_of_old_are_bounded_in_bytes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs whose inputs and outputs are large those that come first are told, and that others are left out."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "depends_on": "a"})
    ids = [(await stage.run("w", {"text": "x" * 100})).run_id for _ in range(3)]
    async with open_api(stage) as api:
        monkeypatch.setattr(aliases, "ANSWER_BYTES_MAX", 600)
        runs = (await api.get("/api/workflows/w/runs")).json()["runs"]
        assert [run["id"] for run in runs] == ids[::-1]
        assert [run["isCut"] for run in runs] == [False, True, True]
        assert runs[0]["steps"][1]["output"] == {"text": "x" * 100} != runs[2]["inputJson"]
        whole = (await api.get(f"/runs/{ids[0]}")).json()
        assert (whole["isCut"], whole["output"]["b"]) == (False, {"text": "x" * 100})
        monkeypatch.setattr(aliases, "ANSWER_BYTES_MAX", 300)
        cut = (await api.get(f"/runs/{ids[0]}")).json()
        assert (cut["isCut"], cut["task_runs"][0]["output"], cut["task_runs"][1]["output"]) == (
            True,
            {"text": "x" * 100},
            None,
        )


async def test_a_run_that_cannot_be_shown_ends_no_server(stage: Stage) -> None:
    """Who listens is let go, and comes again; everybody else is served."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"})
    await stage.run("w")
    async with open_server(stage) as api:
        with anyio.fail_after(30):
            async with api.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}) as answer:
                assert answer.status_code == 200
                told = answer.aiter_bytes()
                await anext(told)  # from now on nothing is missed
                async with stage.client.pool.acquire() as conn, conn.transaction():
                    await conn.execute("SET LOCAL session_replication_role = replica")
                    await conn.execute("UPDATE irs SET content = '{}' WHERE env = $1", stage.place.env)
                await stage.client.submit("w")
                async for _ in told:
                    pass
        assert len((await api.get("/v1/runs")).json()["runs"]) == 2

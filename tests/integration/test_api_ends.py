"""Streams of the API end with the right to hear them: over sockets, through the gate, of the real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from courante.api import streams
from courante.api.app import build_app
from courante.api.backend import Backend, open_backend
from courante.api.security import gate as gate_module
from courante.sdk.access.scopes import Scope
from integration.gated import LOCAL, gate_of, make_key, served
from integration.http_calls import settings_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
HEARD_S = 20
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for minutes: what is looked at now and then is looked at often."""
    monkeypatch.setattr(gate_module, "CHECK_S", 0.05)
    monkeypatch.setattr(streams, "ALIVE_S", 0.05)


@asynccontextmanager
async def gated(stage: Stage) -> AsyncGenerator[tuple[str, Backend]]:
    """The URL of a server that wants keys and believes none for long, and its backend."""
    async with (
        open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend,
        served(gate_of(stage.client, build_app(backend), trust_s=0.05)) as port,
    ):
        yield f"{LOCAL}:{port}", backend


def client_of(url: str, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"})


async def waiting(stage: Stage) -> list[str]:
    """The paths of all streams, of a run in which nothing happens."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}})
    run_id = await stage.client.submit("w")
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    return ["/v1/events", f"/v1/runs/{run_id}/events", f"/v1/runs/{run_id}/logs"]


async def hear(client: httpx.AsyncClient, path: str, begun: list[str], ended: list[str]) -> None:
    """Listen until the stream ends in order: an answer that is broken off raises."""
    async with client.stream("GET", path, headers=STREAM, timeout=HEARD_S) as answer:
        assert answer.status_code == 200
        async for _ in answer.aiter_bytes():
            begun.append(path)  # noqa: PERF401 - one by one, as it comes
    ended.append(path)


async def test_streams_end_with_their_key(stage: Stage) -> None:
    """Also where nothing happens; in order, as whoever listens can tell; another key's go on."""
    paths = await waiting(stage)
    ann, bob = [await make_key(stage, Scope.READ, name=name) for name in ("ann", "bob")]
    begun, ended, others = list[str](), list[str](), list[str]()
    async with gated(stage) as (url, backend), client_of(url, ann) as client, client_of(url, bob) as other:
        with capture_logs() as logs, anyio.fail_after(HEARD_S):
            async with anyio.create_task_group() as group:
                group.start_soon(hear, other, paths[0], others, ended)
                async with anyio.create_task_group() as own:
                    for path in paths:
                        own.start_soon(hear, client, path, begun, ended)
                    await until(lambda: as_set(begun), lambda found: len(found) == len(paths))
                    await stage.client.access.revoke_key("ann")
                assert sorted(ended) == sorted(paths)
                count = len(others)
                await until(lambda: as_count(others), lambda found: found > count + 2)
                assert (await client.get("/v1/events", headers=STREAM)).status_code == 401
                await until(lambda: as_count_of(backend), lambda found: found == 1)
                group.cancel_scope.cancel()
    assert [one["event"] for one in logs if one["log_level"] == "error"] == []


@pytest.mark.parametrize("how", ["logout", "time"])
async def test_streams_end_with_their_session(stage: Stage, how: str) -> None:
    """By a logout in another tab, and with the end of its time."""
    paths = await waiting(stage)
    key = await make_key(stage, Scope.READ)
    begun, ended = list[str](), list[str]()
    async with gated(stage) as (url, _), httpx.AsyncClient(base_url=url, headers={"Origin": url}) as client:
        csrf = (await client.post("/v1/login", json={"key": key})).json()["csrf"]
        with anyio.fail_after(HEARD_S):
            async with anyio.create_task_group() as own:
                for path in paths:
                    own.start_soon(hear, client, path, begun, ended)
                await until(lambda: as_set(begun), lambda found: len(found) == len(paths))
                if how == "logout":
                    assert (await client.post("/v1/logout", headers={"X-CSRF-Token": csrf})).status_code == 200
                else:
                    await let_expire(stage)
        assert sorted(ended) == sorted(paths)
        assert (await client.get("/v1/runs")).status_code == 401


async def let_expire(stage: Stage) -> None:
    async with stage.client.pool.acquire() as conn:
        await conn.execute("UPDATE api_sessions SET expires_at = now() WHERE env = $1", stage.place.env)


async def as_set(found: list[str]) -> set[str]:
    return set(found)


async def as_count(found: list[str]) -> int:
    return len(found)


async def as_count_of(backend: Backend) -> int:
    return backend.listeners

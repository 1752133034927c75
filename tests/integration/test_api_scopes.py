"""Every route of the API: refused without its scope, and blind to other environments."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from courante.api.app import build_app
from courante.api.backend import Backend
from courante.api.route import Route
from courante.api.routes import ROUTES
from courante.sdk.access.scopes import Scope
from courante.sdk.client import Client
from courante.sdk.settings import Settings
from integration.gated import caller, gate_of
from integration.stage import Place, Stage, open_stage

pytestmark = pytest.mark.anyio
OPEN = {
    "GET /v1/health",
    "GET /v1/health/live",
    "GET /v1/health/ready",
    "POST /v1/login",
    "POST /v1/logout",
    "GET /v1/session",
}
"""What anybody may ask."""
SAFE = ("GET", "HEAD")
MARK = "only-in-the-other"


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def spelled(route: Route, **places: str) -> str:
    return route.path.format(**{place: places.get(place, places["id"]) for place in route.places})


@asynccontextmanager
async def asking(client: Client, *scopes: Scope) -> AsyncGenerator[httpx.AsyncClient]:
    """Ask the real API, with a key of these scopes, or none."""
    app = build_app(Backend(client, Settings(home=Path("/nowhere"), env=client.keys.env)))
    key = ""
    if scopes:
        _, key = await client.access.create_key("-".join(scopes), [str(scope) for scope in scopes])
    async with caller(gate_of(client, app), key) as made:
        yield made


def test_only_these_routes_are_open() -> None:
    """Whoever declares another one without a scope says so here."""
    assert {named(route) for route in ROUTES if route.scope is None} == OPEN | {
        named(route) for route in ROUTES if route.path == "/" or route.path.startswith("/web/")
    }


def test_no_unsafe_route_needs_only_read() -> None:
    """But for those that change nothing: they take a body to look at."""
    only_look = ("/validate", "/preview", "/graph", "/diagnose")
    for route in ROUTES:
        if route.method not in SAFE and not route.path.endswith(only_look):
            assert route.scope is not Scope.READ, named(route)


async def test_each_route_needs_its_scope(stage: Stage) -> None:
    """Without a key 401, with a key of all other scopes 403, with its own neither; admin may do everything."""
    guarded = [route for route in ROUTES if route.scope is not None]
    async with asking(stage.client) as stranger:
        for route in guarded:
            answer = await stranger.request(route.method, spelled(route, id="x"))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), named(route)
    for scope in Scope:
        async with asking(stage.client, scope) as holder:
            for route in guarded:
                allowed = scope in (route.scope, Scope.ADMIN)
                if allowed and route.media_type != "application/json":
                    continue  # a stream need not end
                answer = await holder.request(route.method, spelled(route, id="x"))
                assert (answer.status_code not in (401, 403)) is allowed, (named(route), scope, answer.text)
                assert answer.status_code < 500, (named(route), answer.text)


async def test_every_route_is_blind_to_other_environments(stage: Stage, redis_url: str, migrated_database: str) -> None:
    """With every scope, and the ids of another environment: nothing of it is told, and nothing in it changes."""
    async with open_stage(Place(redis_url, migrated_database, f"{stage.place.env}o")) as other:
        places = await _furnish(other)
        before = await _contents(other)
        async with asking(stage.client, Scope.ADMIN) as client:
            for route in ROUTES:
                if route.media_type != "application/json":
                    continue
                for id in dict.fromkeys(places.values()):
                    path = spelled(route, **places | {"id": id})
                    answer = await client.request(route.method, path, json=None if route.method in SAFE else {})
                    assert MARK not in answer.text, (named(route), answer.text)
                    assert answer.status_code < 500, (named(route), answer.text)
                    if route.places and answer.status_code < 300:
                        assert id not in answer.text, (named(route), answer.text)
        assert await _contents(other) == before


async def test_odd_paths_reach_no_file_and_break_nothing(stage: Stage) -> None:
    """Dots, encoded or not, NUL, long and odd ids: a refusal each."""
    odd = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a%0d%0ab", "%ff", "x" * 5_000, "'%20OR%201=1--", "%7B%7D"]
    async with asking(stage.client, Scope.ADMIN) as client:
        for route in ROUTES:
            if not route.places or route.media_type != "application/json":
                continue
            for id in odd:
                answer = await client.request(route.method, spelled(route, id=id))
                is_stream = answer.url.path == "/v1/events"  # where dots lead to, and nothing is told here
                assert answer.status_code < 500 or is_stream, (named(route), id, answer.text)
                assert "root:" not in answer.text
                assert "a\r\nb" not in str(answer.headers)
        for path in ("/../../etc/passwd", "/v1/../../etc/passwd", "/web/../../../etc/passwd", "/web/%2e%2e/app.py"):
            answer = await client.get(path)
            assert answer.status_code in (400, 404), (path, answer.text)


async def _furnish(stage: Stage) -> dict[str, str]:
    """Something of everything; afterwards nobody works there. Returns ids by the names of places."""
    secret = stage.client
    workflow = await stage.register({"id": "a", "type": "noop", "name": MARK}, id="other-flow", name=MARK)
    stage.worker()
    stage.supervisor()
    run = await stage.run(workflow, {"note": MARK}, tags=[MARK])
    for number in range(2):
        await stage.kill(number)
    _, _ = await secret.access.create_key(MARK, ["admin"])
    return {"workflow": workflow, "run_id": run.run_id, "run": run.run_id, "step": "a"}


async def _contents(stage: Stage) -> dict[str, str | None]:
    """A digest of every table's rows of the environment."""
    tables = """SELECT c.table_name
                  FROM information_schema.columns c JOIN information_schema.tables t USING (table_name)
                 WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.column_name = 'env'"""
    digest = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t WHERE env = $1"
    async with stage.client.pool.acquire() as conn:
        names = [row[0] for row in await conn.fetch(tables)]
        return {name: await conn.fetchval(digest.format(name), stage.place.env) for name in names}

"""Every route of the API: refused without its scope, and not impressed by odd ids."""

from __future__ import annotations

import pytest

from courante import __version__
from courante.api.app import OPENAPI_PATH
from courante.api.routes import ROUTES
from courante.sdk.access.scopes import Scope
from integration.api_asking import SAFE, STREAM, asking, named, spelled
from integration.stage import Stage

pytestmark = pytest.mark.anyio
OPEN = {
    "GET /health",
    "GET /v1/health",
    "GET /v1/health/live",
    "GET /v1/health/ready",
    "POST /v1/login",
    "POST /v1/logout",
    "GET /v1/session",
}
"""What anybody may ask."""


def test_only_these_routes_are_open() -> None:
    """Whoever declares another one without a scope says so here."""
    assert {named(route) for route in ROUTES if route.scope is None} == OPEN | {
        named(route) for route in ROUTES if route.path == "/" or route.path.startswith("/web/")
    }


async def test_the_document_is_for_who_is_known(stage: Stage) -> None:
    """With whichever scope; a stranger learns neither what there is nor which release answers."""
    async with asking(stage.client) as stranger, asking(stage.client, Scope.SUBMIT) as known:
        refused = await stranger.get(OPENAPI_PATH)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert (await known.get(OPENAPI_PATH)).json()["openapi"].startswith("3.1.")
        assert __version__ not in "".join([refused.text, str(refused.headers), (await stranger.get("/")).text])


def test_no_unsafe_route_needs_only_read() -> None:
    """But for those that change nothing: they take a body to look at."""
    only_look = ("/validate", "/preview", "/graph", "/diagnose", "/audit/export", "/what-if")
    for route in ROUTES:
        if route.method not in SAFE and not route.path.endswith(only_look):
            assert route.scope is not Scope.READ, named(route)


async def test_each_route_needs_its_scope(stage: Stage) -> None:
    """Without a key 401, with a key of all other scopes 403, with its own neither; admin may do everything."""
    guarded = [route for route in ROUTES if route.scope is not None]
    async with asking(stage.client) as stranger:
        for route in guarded:
            answer = await stranger.request(route.method, spelled(route, "x"))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), named(route)
    for scope in Scope:
        async with asking(stage.client, scope) as holder:
            for route in guarded:
                allowed = scope in (route.scope, Scope.ADMIN)
                if allowed and route.media_type == STREAM:
                    continue
                answer = await holder.request(route.method, spelled(route, "x"))
                assert (answer.status_code not in (401, 403)) is allowed, (named(route), scope, answer.text)
                assert answer.status_code < 500, (named(route), answer.text)


async def test_odd_paths_reach_no_file_and_break_nothing(stage: Stage) -> None:
    """Dots, encoded or not, NUL, long and odd ids: a refusal each."""
    odd = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a%0d%0ab", "%ff", "x" * 5_000, "'%20OR%201=1--", "%7B%7D"]
    async with asking(stage.client, Scope.ADMIN) as client:
        for route in ROUTES:
            if not route.places or route.media_type == STREAM:
                continue
            for id in odd:
                answer = await client.request(route.method, spelled(route, id))
                is_stream = answer.url.path == "/v1/events"  # where dots lead to, and nothing is told here
                assert answer.status_code < 500 or is_stream, (named(route), id, answer.text)
                assert "root:" not in answer.text
                assert "a\r\nb" not in str(answer.headers)
        for path in ("/../../etc/passwd", "/v1/../../etc/passwd", "/web/../../../etc/passwd", "/web/%2e%2e/app.py"):
            answer = await client.get(path)
            assert answer.status_code in (400, 404), (path, answer.text)


async def test_who_may_only_start_runs_goes_on_from_none(stage: Stage) -> None:
    """At the path of sequential workflows either is done, by what the body says; each needs its own scope."""
    path, body = "/api/workflows/x/run", {"fromStepId": "a"}
    async with asking(stage.client, Scope.SUBMIT) as submitter:
        refused = await submitter.post(path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await submitter.post(path, json={})).json()["code"] == "workflow_not_found"
    async with asking(stage.client, Scope.SUBMIT, Scope.OPERATE) as operator:
        assert (await operator.post(path, json=body)).json()["code"] == "workflow_not_found"

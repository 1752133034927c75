"""Sessions of a browser: from the login with a key to the logout, as the page sees them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest

from courante.api.app import build_app
from courante.api.backend import Backend
from courante.sdk.settings import Settings
from integration.gated import LOCAL, caller, gate_of
from integration.stage import Stage

pytestmark = pytest.mark.anyio
FIELDS = {"name", "env", "scopes", "is_session", "csrf", "expires_at"}


@asynccontextmanager
async def browser(stage: Stage, *, url: str = LOCAL, **terms: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that keeps cookies and says where its page is from."""
    settings = Settings(home=Path("/nowhere"), env=stage.place.env)
    app = build_app(Backend(stage.client, settings))
    async with caller(gate_of(stage.client, app, **terms), url=url) as client:
        client.headers["Origin"] = url
        yield client


async def make_key(stage: Stage, *scopes: str) -> str:
    _, key = await stage.client.access.create_key("ada", scopes or ("read", "admin"))
    return key


async def test_from_login_to_logout(stage: Stage) -> None:
    """The page learns who it is and its token; after the logout the same cookie is worth nothing."""
    key = await make_key(stage, "read", "approve")
    async with browser(stage) as client:
        assert (await client.get("/v1/session")).status_code == 401
        opened = await client.post("/v1/login", json={"key": key})
        told = opened.json()
        assert (opened.status_code, set(told)) == (200, FIELDS)
        assert (told["name"], told["scopes"], told["is_session"]) == ("ada", ["read", "approve"], True)
        assert key not in opened.text
        cookie = dict(client.cookies)
        assert (await client.get("/v1/session")).json() == told
        assert (await client.get("/v1/workflows")).status_code == 200
        assert (await client.post("/v1/logout")).status_code == 403
        assert (await client.post("/v1/logout", headers={"X-CSRF-Token": told["csrf"]})).status_code == 200
        assert not client.cookies
        client.cookies.update(cookie)
        assert (await client.get("/v1/workflows")).status_code == 401
        assert (await client.post("/v1/logout")).status_code == 200
    actions = [(each.by, each.action, each.result) for each in (await stage.client.operators.list()).operations]
    assert actions[:3] == [
        ("ada", "POST /v1/logout", "200"),
        ("ada", "POST /v1/logout", "403"),
        ("ada", "POST /v1/login", "200"),
    ]


@pytest.mark.parametrize(
    ("url", "name"), [(LOCAL, "courante_session_{}"), ("https://127.0.0.1", "__Host-courante_session_{}")]
)
async def test_no_script_reads_the_cookie(stage: Stage, url: str, name: str) -> None:
    """Nor does another site send it with more than a link; over TLS it is never sent in clear."""
    async with browser(stage, url=url) as client:
        answer = await client.post("/v1/login", json={"key": await make_key(stage)})
    (line,) = answer.headers.get_list("set-cookie")
    cookie = SimpleCookie(line)[name.format(stage.place.env)]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert bool(cookie["secure"]) is url.startswith("https")
    assert 43_000 < int(cookie["max-age"]) <= 43_200
    assert not cookie["domain"]


async def test_wrong_keys_open_nothing_and_are_counted(stage: Stage) -> None:
    """They are written down; after some the address has to wait, also with the right one."""
    key = await make_key(stage)
    async with browser(stage, failures_max=2, failure_s=3600) as client:
        wrong = [await client.post("/v1/login", json={"key": text}) for text in (key[:-1], "", key)]
        assert [each.status_code for each in wrong] == [401, 401, 429]
        assert "set-cookie" not in wrong[0].headers
        assert wrong[2].json()["code"] == "rate_limited"
    actions = [(each.by, each.action, each.result) for each in (await stage.client.operators.list()).operations]
    assert actions[:2] == [("", "POST /v1/login", "401")] * 2


async def test_a_page_from_elsewhere_logs_nobody_in(stage: Stage) -> None:
    """Or somebody would work in another's name without noticing."""
    key = await make_key(stage)
    async with browser(stage) as client:
        client.headers["Origin"] = "http://evil.example"
        answer = await client.post("/v1/login", json={"key": key})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_a_login_while_logged_in_opens_another_session(stage: Stage) -> None:
    """It needs no token, for the page may have lost it; the one before is over."""
    key = await make_key(stage)
    async with browser(stage) as client:
        first = (await client.post("/v1/login", json={"key": key})).json()
        cookie = dict(client.cookies)
        second = (await client.post("/v1/login", json={"key": key})).json()
        assert first["csrf"] != second["csrf"]
        assert (await client.get("/v1/session")).json() == second
        client.cookies.clear()
        client.cookies.update(cookie)
        assert (await client.get("/v1/session")).status_code == 401


async def test_who_asks_without_a_session(stage: Stage) -> None:
    """A key in the header, or nobody where no key is needed: what he may, and no token."""
    key = await make_key(stage, "submit")
    async with browser(stage, is_open=True) as client:
        anybody = (await client.get("/v1/session")).json()
        assert (anybody["name"], anybody["csrf"], len(anybody["scopes"])) == ("anonymous", None, 5)
        named = (await client.get("/v1/session", headers={"Authorization": f"Bearer {key}"})).json()
        assert (named["name"], named["scopes"], named["is_session"]) == ("ada", ["submit"], False)


async def test_operators_are_shown_to_admins(stage: Stage) -> None:
    """A page at a time, the last first."""
    async with browser(stage) as client:
        client.headers["Authorization"] = f"Bearer {await make_key(stage)}"
        await client.post("/v1/nothing")
        page = (await client.get("/v1/operators?limit=1")).json()
        (shown,) = page["operations"]
        assert (shown["by"], shown["action"], shown["result"]) == ("ada", "POST /v1/nothing", "404")
        rest = (await client.get(f"/v1/operators?cursor={page['next']}")).json()
        assert [each["action"] for each in rest["operations"]] == ["key.created"]
        assert (await client.get("/v1/operators?cursor=x")).status_code == 400
        assert (await client.get("/v1/operators?by=nobody")).json() == {"operations": [], "next": None}

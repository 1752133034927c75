"""The gate of the API: who is let in, how often, and what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from courante.api.security import authentication
from courante.api.security import gate as gate_module
from courante.api.security.buckets import Buckets
from courante.api.security.gate import Gate
from courante.api.security.opening import KeysMissing, is_open_to_all
from courante.api.security.terms import Terms
from courante.sdk.client.access import Access
from courante.sdk.connections import connect_postgres
from courante.sdk.keys import Keys
from integration.gated import LOCAL, caller, cookie_of, echo, gate_of, listed, make_key, open_session, problem
from integration.stage import Stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a test takes: no bucket fills again meanwhile."""

    def stopped(size: float, per_s: float, *_clock: object) -> Buckets:
        return Buckets(size, per_s, lambda: 0.0)

    for module in (gate_module, authentication):
        monkeypatch.setattr(module, "Buckets", stopped)


async def test_a_key_makes_a_principal(stage: Stage) -> None:
    """Without one nobody is known; with one its name; the gate lets both on, for routes know what they need."""
    key = await make_key(stage)
    gate = gate_of(stage.client)
    async with caller(gate) as stranger, caller(gate, key) as known:
        assert (await stranger.get("/")).json()["name"] is None
        assert (await known.get("/")).json()["name"] == "ci"
        assert (await known.get("/", headers={"Authorization": f"bearer {key}"})).json()["name"] == "ci"
        for other in (f"Basic {key}", f"{key} {key}", key):
            assert (await stranger.get("/", headers={"Authorization": other})).status_code == 401


@pytest.mark.parametrize("given", ["Basic Y2k6eA==", "Bearer", "Bearer ", "Bearer x", "Bearer \xff", "crt_x", ""])
async def test_what_is_no_key_is_refused_at_once(stage: Stage, given: str) -> None:
    """A wrong key does not count as none, even where none is needed."""
    async with caller(gate_of(stage.client, is_open=True)) as client:
        answer = await client.get("/", headers=[(b"Authorization", given.encode("latin-1"))])
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert problem(answer)["code"] == "unauthenticated"


async def test_two_keys_are_none(stage: Stage) -> None:
    """Whoever stands in between cannot add another key to a request."""
    key = await make_key(stage)
    async with caller(gate_of(stage.client)) as client:
        both = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]
        assert (await client.get("/", headers=both)).status_code == 401


async def test_where_no_key_is_needed_anybody_may_do_everything(stage: Stage) -> None:
    async with caller(gate_of(stage.client, is_open=True)) as client:
        assert (await client.post("/")).json()["name"] == "anonymous"


async def test_a_key_of_another_environment_is_none(stage: Stage) -> None:
    """dev and prod may share their servers."""
    key = await make_key(stage)
    opened = await open_session(stage, key)
    access = Access(stage.client.pool, Keys("other"))
    other = Gate(echo, access, stage.client.operators, "other", Terms())
    async with caller(other, key) as client:
        assert (await client.get("/")).status_code == 401
    async with caller(other) as client:
        cookie = {"Cookie": f"courante_session_other={opened.token}"}
        assert (await client.get("/", headers=cookie)).json()["name"] is None


async def test_a_revoked_key_is_refused_when_it_is_looked_up_again(stage: Stage) -> None:
    """What was in force is believed for a while, here for none; a cached one saves the question."""
    key = await make_key(stage)
    async with caller(gate_of(stage.client, trust_s=0), key) as strict, caller(gate_of(stage.client), key) as lax:
        assert (await strict.get("/")).status_code == (await lax.get("/")).status_code == 200
        await stage.client.access.revoke_key("ci")
        assert ((await strict.get("/")).status_code, (await lax.get("/")).status_code) == (401, 200)


async def test_a_believed_key_still_expires(stage: Stage) -> None:
    """Its time is looked at with each request."""
    soon = datetime.now(UTC) + timedelta(seconds=2)
    _, key = await stage.client.access.create_key("ci", ["read"], expires_at=soon)
    async with caller(gate_of(stage.client, trust_s=3600), key) as client:
        assert (await client.get("/")).status_code == 200
        await anyio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.01)
        assert (await client.get("/")).status_code == 401


async def test_a_key_is_no_session_and_a_session_no_key(stage: Stage) -> None:
    """Also while both are believed: a session that came as a key would need no token of the page."""
    key = await make_key(stage)
    opened = await open_session(stage, key)
    name = f"courante_session_{stage.place.env}"
    gate = gate_of(stage.client)
    async with caller(gate, key) as known, caller(gate, opened.token) as token, caller(gate) as page:
        assert (await known.get("/")).json()["name"] == "ci"
        assert (await page.get("/", headers={"Cookie": f"{name}={key}"})).json()["name"] is None
        assert (await page.get("/", headers=cookie_of(stage, opened))).json()["name"] == "ci"
        assert (await token.post("/")).status_code == 401


async def test_who_was_known_is_not_locked_out(stage: Stage) -> None:
    """Also when his key is looked up again: wrong keys of another one at his address are not his."""
    key = await make_key(stage)
    gate = gate_of(stage.client, failures_max=2, failure_s=3600, trust_s=0)
    async with caller(gate, key) as known, caller(gate, "x") as wrong:
        assert (await known.get("/")).status_code == 200
        assert [(await wrong.get("/")).status_code for _ in range(3)] == [401, 401, 429]
        assert (await known.get("/")).status_code == 200
        await stage.client.access.revoke_key("ci")
        assert [(await known.get("/")).status_code for _ in range(2)] == [401, 429]


async def test_many_requests_of_a_key_ask_postgres_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await make_key(stage)
    asked = listed(monkeypatch, stage.client.access, "find_by_key")
    async with caller(gate_of(stage.client), key) as client, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(client.get, "/")
    assert asked == [key]


async def test_only_so_many_are_believed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever opens sessions without end fills the memory; who was looked up longest ago is looked up again."""
    monkeypatch.setattr("courante.api.security.authentication.CREDENTIALS_MAX", 2)
    key = await make_key(stage)
    first, second, third = [cookie_of(stage, await open_session(stage, key)) for _ in range(3)]
    asked = listed(monkeypatch, stage.client.access, "find_by_session")
    async with caller(gate_of(stage.client, trust_s=3_600)) as client:
        for cookie, lookups in ((first, 1), (second, 2), (third, 3), (second, 3), (first, 4)):
            assert (await client.get("/", headers=cookie)).json()["name"] == "ci"
            assert len(asked) == lookups


@pytest.mark.usefixtures("_no_time")
async def test_wrong_keys_from_one_address_are_counted(stage: Stage) -> None:
    """After some of them it is told to wait; others, and who is known already, are not concerned."""
    key = await make_key(stage)
    gate = gate_of(stage.client, failures_max=3, failure_s=3600)
    async with caller(gate, key) as known, caller(gate, "x") as wrong, caller(gate, "x", address="::2") as other:
        assert (await known.get("/")).status_code == 200
        with capture_logs() as logs:
            assert [(await wrong.get("/")).status_code for _ in range(5)] == [401, 401, 401, 429, 429]
        told = [{name: one[name] for name in ("event", "address")} for one in logs if one["log_level"] != "debug"]
        assert told == [{"event": "key_refused", "address": "127.0.0.1"}] * 3
        refused = await wrong.get("/")
        assert problem(refused)["code"] == "rate_limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert (await known.get("/")).status_code == 200
        assert (await other.get("/")).status_code == 401


@pytest.mark.usefixtures("_no_time")
async def test_a_key_may_ask_so_often(stage: Stage) -> None:
    """Its sessions count with it; another key has a bucket of its own."""
    key, other = await make_key(stage), await make_key(stage, name="other")
    opened = await open_session(stage, key)
    gate = gate_of(stage.client, requests_per_s=2)
    async with caller(gate, key) as client, caller(gate) as page, caller(gate, other) as second:
        assert [(await client.get("/")).status_code for _ in range(6)] == [200] * 4 + [429] * 2
        assert (await page.get("/", headers=cookie_of(stage, opened))).status_code == 429
        assert (await second.get("/")).status_code == 200


@pytest.mark.usefixtures("_no_time")
async def test_strangers_may_ask_so_often(stage: Stage) -> None:
    """What is open to all is not open without end; who has a key is not concerned, nor is another address."""
    key = await make_key(stage)
    gate = gate_of(stage.client, stranger_requests_per_s=2)
    async with caller(gate) as stranger, caller(gate, key) as known, caller(gate, address="::2") as other:
        assert [(await stranger.get("/")).status_code for _ in range(6)] == [200] * 4 + [429] * 2
        assert (await known.get("/")).status_code == (await other.get("/")).status_code == 200
    async with caller(gate_of(stage.client, stranger_requests_per_s=1, is_open=True)) as anybody:
        assert {(await anybody.get("/")).status_code for _ in range(10)} == {200}


@pytest.mark.usefixtures("_no_time")
async def test_keys_and_cookies_that_nobody_knows_are_looked_up_so_often(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a question to Postgres; a cookie that is over is no wrong key, and bounded all the same."""
    looked_up = listed(monkeypatch, stage.client.access, "find_by_session")
    gate = gate_of(stage.client, stranger_requests_per_s=2)
    async with caller(gate) as client:
        cookies = [{"Cookie": f"courante_session_{stage.place.env}={number:064x}"} for number in range(30)]
        codes = [(await client.get("/", headers=cookie)).status_code for cookie in cookies]
    assert codes[:2] == [200] * 2
    assert 429 in codes
    assert len(looked_up) == codes.count(200)


async def test_without_postgres_nobody_is_known(stage: Stage) -> None:
    """It is told as what it is, and not as a wrong key."""
    key = await make_key(stage)
    pool = await connect_postgres(stage.place.database_url)
    gate = Gate(echo, Access(pool, stage.client.keys), stage.client.operators, stage.place.env, Terms())
    await pool.close()
    async with caller(gate, key) as client:
        answers = [await client.get("/") for _ in range(20)]
    assert {(each.status_code, problem(each)["code"]) for each in answers} == {(503, "service_unavailable")}


async def test_a_session_changes_something_with_its_token_only(stage: Stage) -> None:
    """The cookie alone lets one look; another session's token, and a page from elsewhere, do not help."""
    key = await make_key(stage)
    opened, other = await open_session(stage, key), await open_session(stage, key)
    cookie = cookie_of(stage, opened)
    async with caller(gate_of(stage.client)) as client:
        assert (await client.get("/", headers=cookie)).json()["name"] == "ci"
        assert problem(await client.post("/", headers=cookie))["code"] == "csrf_refused"
        assert (await client.post("/", headers=cookie | {"X-CSRF-Token": other.csrf})).status_code == 403
        assert (await client.post("/", headers=cookie | {"X-CSRF-Token": opened.csrf})).status_code == 200
        elsewhere = cookie | {"X-CSRF-Token": opened.csrf, "Origin": "http://evil.example"}
        assert problem(await client.post("/", headers=elsewhere))["code"] == "origin_refused"
        await stage.client.access.close_session(opened.token)
    async with caller(gate_of(stage.client)) as client:
        assert (await client.get("/", headers=cookie)).json()["name"] is None


async def test_no_page_reaches_a_server_without_keys(stage: Stage) -> None:
    """Anybody's page in a browser of this machine could ask: its Origin, or the name it calls, tells."""
    gate = gate_of(stage.client, is_open=True)
    async with caller(gate) as client:
        form = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        assert problem(await client.post("/", headers=form, content=b"{}"))["code"] == "origin_refused"
        assert (await client.post("/", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
        assert (await client.post("/", headers={"Origin": LOCAL})).status_code == 200
        looked = await client.get("/", headers={"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"})
        assert (looked.status_code, "access-control-allow-origin" in looked.headers) == (403, False)
    async with caller(gate, url="http://rebound.example") as client:
        assert problem(await client.get("/"))["code"] == "host_not_served"


async def test_a_key_in_the_header_needs_no_origin(stage: Stage) -> None:
    """A browser adds no such header by itself."""
    async with caller(gate_of(stage.client), await make_key(stage)) as client:
        assert (await client.post("/", headers={"Origin": "http://app.example"})).status_code == 200


async def test_the_application_sees_no_key(stage: Stage) -> None:
    """What it does not have it can neither log nor answer."""
    key = await make_key(stage)
    opened = await open_session(stage, key)
    seen: list[str] = []

    async def look(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(repr(scope))
        await echo(scope, receive, send)

    gate = gate_of(stage.client, look)
    async with caller(gate, key) as client, caller(gate) as page:
        await client.get("/")
        await page.get("/", headers=cookie_of(stage, opened))
    assert len(seen) == 2
    for secret in (key, opened.token, opened.csrf):
        assert not any(secret in each for each in seen)


async def test_no_trace_leaves_the_server(stage: Stage) -> None:
    """What goes wrong inside is told by a code; the log has the rest, and no key."""
    key = await make_key(stage)
    with capture_logs() as logs:
        async with caller(gate_of(stage.client), key) as client:
            answer = await client.post("/fail")
    assert (answer.status_code, problem(answer)["code"]) == (500, "internal_error")
    assert not any(word in answer.text for word in ("hunter2", "Traceback", "RuntimeError", ".py"))
    assert len([each for each in logs if each["log_level"] != "debug"]) == 1
    assert key not in repr(logs)


async def test_every_answer_bears_the_headers(stage: Stage) -> None:
    """Good ones and refusals of every kind; ids of requests differ."""
    gate = gate_of(stage.client, is_open=True, body_bytes_max=1)
    async with caller(gate) as client:
        answers = [
            await client.get("/"),
            await client.get("/", headers={"Authorization": "x"}),
            await client.get("/", headers={"Host": "evil.example"}),
            await client.post("/", content=b"xx"),
            await client.get("/fail"),
        ]
    assert [each.status_code for each in answers] == [200, 401, 421, 413, 500]
    for each in answers:
        assert "default-src 'none'" in each.headers["content-security-policy"]
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in each.headers
    assert len({each.headers["x-request-id"] for each in answers}) == 5


async def test_over_tls_it_is_asked_for_again(stage: Stage) -> None:
    """And the cookie has a name that other sites of the domain cannot set."""
    opened = await open_session(stage, await make_key(stage))
    name = f"courante_session_{stage.place.env}"
    async with caller(gate_of(stage.client), url="https://127.0.0.1") as client:
        assert "strict-transport-security" in (await client.get("/")).headers
        assert (await client.get("/", headers={"Cookie": f"__Host-{name}={opened.token}"})).json()["name"] == "ci"
        assert (await client.get("/", headers={"Cookie": f"{name}={opened.token}"})).json()["name"] is None


async def test_a_long_answer_ends_with_its_key(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of events is no way to stay when a key was revoked."""
    monkeypatch.setattr("courante.api.security.gate.CHECK_S", 0.0)
    key = await make_key(stage)
    sent: list[bytes] = []
    gone = anyio.Event()

    async def stream(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(10):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                if len(sent) == 3:
                    await stage.client.access.revoke_key("ci")
                await anyio.lowlevel.checkpoint()
        finally:
            gone.set()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "scheme": "http", "client": ("::1", 1)}
    await gate_of(stage.client, stream, trust_s=0)(scope, None, send)
    assert gone.is_set()
    assert sent == [b"", b"x", b"x", b""]


async def test_a_key_may_listen_so_often_at_once(stage: Stage) -> None:
    """Or one that only reads could take all connections. Who ends a stream may begin another."""
    going, end = anyio.Event(), anyio.Event()

    async def stream(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not going.is_set():
            going.set()
            await end.wait()
        await send({"type": "http.response.body", "body": b""})

    key, other = await make_key(stage), await make_key(stage, name="other")
    gate = gate_of(stage.client, stream, streams_max=1)
    async with caller(gate, key) as client, caller(gate, other) as second, anyio.create_task_group() as group:
        group.start_soon(client.get, "/")
        await going.wait()
        refused = await client.get("/")
        assert (refused.status_code, problem(refused)["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        end.set()
        assert (await second.get("/")).status_code == 200
    async with caller(gate, key) as client:
        assert [(await client.get("/")).status_code for _ in range(3)] == [200] * 3


async def test_where_the_api_may_be_opened(stage: Stage) -> None:
    """Without a key on this machine only; with other servers than ours until there is one; elsewhere never."""
    access = stage.client.access

    async def opens(**facts: bool) -> bool:
        given = {"is_loopback": True, "is_embedded": True, "is_required": False} | facts
        return await is_open_to_all(access, **given)

    assert await opens()
    assert await opens(is_embedded=False)
    for refused in ({"is_loopback": False}, {"is_required": True}, {"is_loopback": False, "is_embedded": False}):
        with pytest.raises(KeysMissing):
            await opens(**refused)
    await make_key(stage)
    assert await opens()
    assert not await opens(is_embedded=False)
    assert not await opens(is_loopback=False)
    assert not await opens(is_required=True)
    await access.revoke_key("ci")
    with pytest.raises(KeysMissing):
        await opens(is_loopback=False)

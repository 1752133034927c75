"""The journal of the API: what is written of unsafe requests, and when."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from courante.sdk.access.scopes import Scope
from courante.sdk.errors import ServiceUnavailable
from integration.api_asking import asking
from integration.gated import caller, echo, gate_of, make_key, operations
from integration.stage import Stage

pytestmark = pytest.mark.anyio


async def test_unsafe_requests_are_written_down_before_they_are_answered(stage: Stage) -> None:
    """With who asked, what, and how it ended; looking is not, nor what strangers try."""
    key = await make_key(stage)
    async with caller(gate_of(stage.client), key, address="192.0.2.7") as client:
        await client.get("/v1/x")
        await client.post("/v1/x")
        (first,) = await operations(stage)
        await client.request("DELETE", "/fail")
        await client.post("/v1/a%0d%0ab%1b[2J")
    async with caller(gate_of(stage.client)) as client:
        await client.post("/v1/x")
    assert (first.by, first.action, first.result, first.address) == ("ci", "POST /v1/x", "200", "192.0.2.7")
    assert first.key_id == (await stage.client.access.list_keys())[0].id
    assert [(each.action, each.result) for each in await operations(stage)] == [
        ("POST /v1/a??b?[2J", "200"),
        ("DELETE /fail", "500"),
        ("POST /v1/x", "200"),
    ]


async def test_each_request_has_a_line_for_who_wants_it(stage: Stage) -> None:
    """Who asked for what, how it ended and how long it took; not what was sought, nor what would steer a terminal."""
    async with caller(gate_of(stage.client), await make_key(stage), address="192.0.2.7") as client:
        with capture_logs() as lines:
            await client.get("/v1/a%0d%0ab?search=tea")
    (line,) = [each for each in lines if each["event"] == "request_answered"]
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request_answered",
        "log_level": "debug",
        "method": "GET",
        "path": "/v1/a??b",
        "status": 200,
        "by": "ci",
        "address": "192.0.2.7",
    }


async def test_a_key_that_stands_in_a_path_is_not_written_down(stage: Stage) -> None:
    """Where the id of a key is wanted the whole key is refused, in whatever spelling; nobody reads it in the log."""
    _, text = await stage.client.access.create_key("leaked", ["read"])
    id, _, secret = text.rpartition("_")
    encoded = text.replace("_", "%5F")
    with capture_logs() as logs:
        async with asking(stage.client, Scope.ADMIN) as api:
            answers = [await api.delete(f"/v1/keys/{word}") for word in (text, encoded, text[:-1])]
            odd = await api.post(f"/v1/nothing/{text}")
            assert (await api.delete(f"/v1/keys/{id}")).status_code == 200
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(422, "input_invalid")] * 3
    assert all(id in each.text and secret[:20] not in each.text for each in answers)
    assert odd.status_code == 404
    written = await operations(stage)
    assert {f"DELETE /v1/keys/{id}_***", f"POST /v1/nothing/{id}_***"} <= {each.action for each in written}
    assert secret[:20] not in f"{written} {logs}"


async def test_accepted_submissions_stand_among_the_commands(stage: Stage) -> None:
    """A route that needs the scope submit and succeeds is not written a second time; a refusal is."""

    async def submit(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["state"]["needed"] = Scope.SUBMIT
        await echo(scope, receive, send)

    async with caller(gate_of(stage.client, submit), await make_key(stage)) as client:
        await client.post("/v1/runs")
        await client.post("/fail")
    assert [each.result for each in await operations(stage)] == ["500"]


async def test_what_was_only_asked_is_told_from_what_was_done(stage: Stage) -> None:
    """Also where it is refused; of what has no such word nothing is said."""
    async with asking(stage.client, Scope.ADMIN) as api:
        for body in ({"dry_run": True}, {"dry_run": False}, {}):
            assert (await api.post("/v1/runs/run_none/retry", json=body)).status_code == 404
        await api.post("/v1/runs/run_none/cancel", json={})
    path = "POST /v1/runs/run_none"
    assert [each.action for each in await operations(stage)] == [
        f"{path}/cancel", f"{path}/retry", f"{path}/retry", f"{path}/retry (dry run)"
    ]  # fmt: skip


async def test_many_unsafe_requests_share_their_commits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    note = stage.client.operators.note

    async def counted(*given: Any) -> None:
        written.append(len(given))
        await note(*given)

    monkeypatch.setattr(stage.client.operators, "note", counted)
    async with caller(gate_of(stage.client), await make_key(stage)) as client, anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(client.post, "/")
    assert sum(written) == len(await operations(stage)) == 30
    assert len(written) < 15


async def test_what_cannot_be_written_down_is_answered_and_logged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been done cannot be taken back."""

    async def away(*_given: Any) -> None:
        raise ServiceUnavailable("Postgres is away")

    key = await make_key(stage)
    monkeypatch.setattr(stage.client.operators, "note", away)
    with capture_logs() as logs:
        async with caller(gate_of(stage.client), key) as client:
            assert (await client.post("/")).status_code == 200
    assert [each["event"] for each in logs if each["log_level"] != "debug"] == ["operation_not_recorded"]
    assert key not in repr(logs)

"""The journal of the API: what is written of unsafe requests, and when."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from courante.sdk.access.scopes import Scope
from courante.sdk.errors import ServiceUnavailable
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


async def test_accepted_submissions_stand_among_the_commands(stage: Stage) -> None:
    """A route that needs the scope submit and succeeds is not written a second time; a refusal is."""

    async def submit(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["state"]["needed"] = Scope.SUBMIT
        await echo(scope, receive, send)

    async with caller(gate_of(stage.client, submit), await make_key(stage)) as client:
        await client.post("/v1/runs")
        await client.post("/fail")
    assert [each.result for each in await operations(stage)] == ["500"]


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
    assert [each["event"] for each in logs] == ["operation_not_recorded"]
    assert key not in repr(logs)

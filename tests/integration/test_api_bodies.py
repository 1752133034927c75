"""Bodies of requests to the API: so large, so deep and so slow, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from courante.api.app import build_app
from courante.api.backend import Backend
from courante.sdk.settings import Settings
from integration.gated import caller, gate_of, make_key, problem, served
from integration.stage import Stage

pytestmark = pytest.mark.anyio


async def test_large_bodies_are_refused(stage: Stage) -> None:
    """By what they say of themselves, and by what comes; a stranger may send less."""
    key = await make_key(stage)
    gate = gate_of(stage.client, body_bytes_max=1000, stranger_bytes_max=10)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    async with caller(gate, key) as known, caller(gate) as stranger:
        assert (await known.post("/", content=b"x" * 1000)).json()["size"] == 1000
        said = await known.post("/", content=b"x" * 1001)
        came = await known.post("/", content=pieces())
        strange = await stranger.post("/", content=b"x" * 11)
        assert [problem(each)["code"] for each in (said, came, strange)] == ["body_too_large"] * 3
        assert [each.status_code for each in (said, came, strange)] == [413] * 3
        assert (await stranger.post("/", content=b"x" * 10)).status_code == 200


async def test_deep_bodies_are_refused(stage: Stage) -> None:
    """Whatever they are said to be; as large as a body may be."""
    async with caller(gate_of(stage.client), await make_key(stage)) as client:
        for deep in (b"[" * 101 + b"]" * 101, b'{"a":' * 3_000_000, b"[" * 16_000_000):
            answer = await client.post("/", content=deep)
            assert (answer.status_code, problem(answer)["code"]) == (422, "body_too_deep")
        assert (await client.post("/", content=b"[" * 100 + b"]" * 100)).status_code == 200
        assert (await client.post("/", content=json.dumps(["[" * 500] * 500).encode())).status_code == 200


async def test_a_slow_body_is_given_up(stage: Stage) -> None:
    """Whoever sends less than the least rate has lost, however often he sends."""
    gate = gate_of(stage.client, silence_s=0.2, bytes_per_s_min=1_000_000)

    async def drops() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b"x"
            await anyio.sleep(0.05)

    async with caller(gate, await make_key(stage)) as client:
        answer = await client.post("/", content=drops())
    assert (answer.status_code, problem(answer)["code"]) == (408, "body_too_slow")


async def test_who_goes_in_the_middle_is_no_fault(stage: Stage) -> None:
    """Nothing is registered of half a body, and the log has no error."""
    app = build_app(Backend(stage.client, Settings(home=Path("/nowhere"), env=stage.place.env)))
    ended = anyio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            ended.set()

    with capture_logs() as logs:
        async with served(gate_of(stage.client, watched, is_open=True)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST /v1/workflows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(head + b"Content-Length: 1000\r\n\r\n{")
            await writer.drain()
            writer.close()
            with anyio.fail_after(20):
                await ended.wait()
            del reader
    assert [each for each in logs if each["log_level"] == "error"] == []

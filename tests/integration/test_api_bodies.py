"""Bodies of requests to the API: so large, so deep and so slow, and no more."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from structlog.testing import capture_logs

from courante.api import route
from courante.api.app import build_app
from courante.api.aside import LARGE_BYTES
from courante.api.backend import Backend
from courante.api.routes import aliases, runs, workflows
from courante.sdk.access.scopes import Scope
from courante.sdk.settings import Settings
from integration.api_asking import asking
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

    async def unasked() -> AsyncIterator[bytes]:
        pytest.fail("it was waited for")
        yield b""

    async with caller(gate, key) as known, caller(gate) as stranger:
        assert (await known.post("/", content=b"x" * 1000)).json()["size"] == 1000
        said = await known.post("/", content=unasked(), headers={"Content-Length": "1001"})
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


async def test_bodies_of_many_values_are_refused(stage: Stage) -> None:
    """However small each is: to read an object of millions of keys holds up everybody."""
    gate = gate_of(stage.client, values_max=10, members_max=3)
    async with caller(gate, await make_key(stage)) as client:
        much: list[object] = [
            [1] * 11,
            [[]] * 10,
            {"a": [1] * 10},
            dict.fromkeys("abcd"),
            [{}, dict.fromkeys("abcd", 1)],
        ]
        for many in much:
            answer = await client.post("/", content=json.dumps(many).encode())
            assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")
        for few in ([1] * 10, dict.fromkeys("abc"), ["[{,:" * 10], {"a,b:c": [dict.fromkeys("abc", 1)]}):
            assert (await client.post("/", content=json.dumps(few).encode())).status_code == 200


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


async def test_what_takes_long_to_read_holds_up_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents, and bodies that are large, are read aside, and inputs are written there: others are answered."""
    began, others = threading.Event(), threading.Event()

    def slowly(wanted: Callable[..., Any]) -> Callable[..., Any]:
        def read(*given: Any, **options: Any) -> Any:
            began.set()
            assert others.wait(20), "nobody else was answered"
            return wanted(*given, **options)

        return read

    cases: list[tuple[ModuleType, str, str, Any, int]] = [
        (workflows, "compile_text", "/v1/workflows/validate", {}, 200),
        (route, "decode_body", "/v1/runs", {"workflow": "w", "input": "x" * LARGE_BYTES}, 404),
        (runs, "submission_of", "/v1/runs", {"workflow": "w", "input": "x" * LARGE_BYTES}, 404),
        (runs, "submission_of", "/v1/runs/batch", {"runs": [{"workflow": "w", "input": "x" * LARGE_BYTES}]}, 404),
        (aliases, "encode_input", "/runs", {"workflow": "w", "input": "x" * LARGE_BYTES}, 404),
    ]
    async with asking(stage.client, Scope.READ, Scope.SUBMIT) as client:
        for module, name, path, body, wanted in cases:
            began.clear()
            others.clear()
            answers: list[int] = []

            async def ask(path: str = path, body: Any = body, answers: list[int] = answers) -> None:
                answers.append((await client.post(path, json=body)).status_code)

            with monkeypatch.context() as patch:
                patch.setattr(module, name, slowly(getattr(module, name)))
                async with anyio.create_task_group() as group:
                    group.start_soon(ask)
                    assert await run_sync(began.wait, 20), "it was not read"
                    patch.undo()
                    assert (await client.get("/v1/health/live")).status_code == 200
                    others.set()
            assert answers == [wanted]


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

"""Gated: a small application behind the gate, asked in this process or over a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from courante.api.security.gate import Gate
from courante.api.security.protocol import Limits, make_protocol
from courante.api.security.terms import Terms, host_names
from courante.api.server import Server
from courante.cli.api_socket import listen
from courante.sdk.client.access import Access, Session
from courante.sdk.client.client import Client
from courante.sdk.stores.operator_log import KeptOperation
from integration.stage import Stage

LOCAL = "http://127.0.0.1"
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Say who asks, and how large his body is. ``/fail`` raises; ``/late`` raises after the answer has begun."""
    if scope["path"] == "/fail":
        raise RuntimeError("a secret of the server's: hunter2hunter2")
    message = await receive()
    principal = scope["state"]["principal"]
    told = {"name": principal and principal.name, "size": len(message.get("body", b""))}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    if scope["path"] == "/late":
        raise RuntimeError("in the middle")
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def gate_of(client: Client, app: Asgi = echo, **terms: Any) -> Gate:
    terms.setdefault("hosts", host_names("127.0.0.1", [], is_loopback=True))
    return Gate(app, client.access, client.operators, client.keys.env, Terms(**terms))


def caller(gate: Asgi, key: str = "", *, address: str = "127.0.0.1", url: str = LOCAL) -> httpx.AsyncClient:
    """A client in this process. key: sent with each request."""
    transport = httpx.ASGITransport(gate, raise_app_exceptions=False, client=(address, 1))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=transport, base_url=url, headers=headers)


@asynccontextmanager
async def served(app: Asgi, limits: Limits | None = None) -> AsyncGenerator[int]:
    """Serve on a loopback port, and give the port."""
    with listen("127.0.0.1", 0) as listening:
        server = Server(app, http=make_protocol(limits or Limits()))
        async with anyio.create_task_group() as group:
            group.start_soon(server.run_on, listening)
            try:
                yield int(listening.getsockname()[1])
            finally:
                server.kill()


async def make_key(stage: Stage, *scopes: str, name: str = "ci") -> str:
    _, key = await stage.client.access.create_key(name, scopes or ("admin",))
    return key


async def open_session(stage: Stage, key: str) -> Session:
    opened = await stage.client.access.open_session(key)
    assert opened is not None
    return opened


def cookie_of(stage: Stage, session: Session) -> dict[str, str]:
    return {"Cookie": f"courante_session_{stage.place.env}={session.token}"}


async def operations(stage: Stage) -> list[KeptOperation]:
    page = await stage.client.operators.list()
    return [each for each in page.operations if not each.action.startswith("key.")]


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    return found


def listed(monkeypatch: pytest.MonkeyPatch, access: Access, name: str) -> list[str]:
    """The list of what this method of it is asked for from now on."""
    asked: list[str] = []
    find = getattr(access, name)

    async def find_listed(text: str) -> Any:
        asked.append(text)
        return await find(text)

    monkeypatch.setattr(access, name, find_listed)
    return asked

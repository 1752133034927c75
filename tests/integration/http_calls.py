"""The API of a stage, called over ASGI: no socket, but everything else."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, NamedTuple

import anyio
import httpx

from courante.api.app import as_anybody, build_app
from courante.api.backend import open_backend
from courante.api.server import Server
from courante.cli.api_socket import listen, url_of
from courante.sdk.settings import Settings, load_settings
from integration.stage import Place, Stage

JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}


def settings_of(place: Place) -> Settings:
    flags = {"redis_url": place.redis_url, "database_url": place.database_url, "env": place.env}
    return load_settings(flags, environ={})[0]


class SentEvent(NamedTuple):
    """One server-sent event. ``id``: the last one that was told."""

    name: str
    id: str
    data: Any


async def listen_to(api: httpx.AsyncClient, path: str, after: str = "") -> AsyncGenerator[SentEvent]:
    """What a stream tells. after: Last-Event-ID."""
    async with api.stream("GET", path, headers=_listening(after)) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        async for event in _events(answer):
            yield event


async def follow(api: httpx.AsyncClient, path: str, after: str = "") -> AsyncGenerator[SentEvent]:
    """What a stream tells to who connects again, as browsers do, until nothing more is to come."""
    while True:
        with suppress(httpx.TransportError):
            async with api.stream("GET", path, headers=_listening(after)) as answer:
                if answer.status_code == HTTPStatus.NO_CONTENT:
                    return
                async for event in _events(answer):
                    after = event.id
                    yield event
        await anyio.sleep(0.05)


def _listening(after: str) -> dict[str, str]:
    return {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})


async def _events(answer: httpx.Response) -> AsyncGenerator[SentEvent]:
    """All but that nothing has happened."""
    name, id = "message", ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            id = value
        elif field == "data":
            if name != "alive":
                yield SentEvent(name, id, json.loads(value))
            name = "message"


@asynccontextmanager
async def open_api(stage: Stage) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the stage's API."""
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        transport = httpx.ASGITransport(app=as_anybody(build_app(backend), stage.place.env))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


@asynccontextmanager
async def open_server(stage: Stage, *, send_bytes: int = 0) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a server of the stage's API, over a socket.

    send_bytes: how much the system holds for who reads slowly; 0: as it likes.
    """
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        with listen("127.0.0.1", 0) as listening:
            if send_bytes:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
            server = Server(as_anybody(build_app(backend), stage.place.env), on_stop=backend.stop)
            async with anyio.create_task_group() as group:
                group.start_soon(server.run_on, listening)
                async with httpx.AsyncClient(base_url=url_of(listening), timeout=20) as client:
                    yield client
                server.stop()

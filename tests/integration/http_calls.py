"""The API of a stage, called over ASGI: no socket, but everything else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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


@asynccontextmanager
async def open_api(stage: Stage) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the stage's API."""
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        transport = httpx.ASGITransport(app=as_anybody(build_app(backend), stage.place.env))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


@asynccontextmanager
async def open_server(stage: Stage) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a server of the stage's API, over a socket."""
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        with listen("127.0.0.1", 0) as listening:
            server = Server(as_anybody(build_app(backend), stage.place.env), on_stop=backend.hub.stop)
            async with anyio.create_task_group() as group:
                group.start_soon(server.run_on, listening)
                async with httpx.AsyncClient(base_url=url_of(listening), timeout=20) as client:
                    yield client
                server.stop()

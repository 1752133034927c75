"""The API of a stage, called over ASGI: no socket, but everything else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from courante.api.app import as_anybody, build_app
from courante.api.backend import Backend
from courante.sdk.settings import Settings, load_settings
from integration.stage import Place, Stage

JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}


def settings_of(place: Place) -> Settings:
    flags = {"redis_url": place.redis_url, "database_url": place.database_url, "env": place.env}
    return load_settings(flags, environ={})[0]


def app_of(stage: Stage) -> Any:
    return as_anybody(build_app(Backend(stage.client, settings_of(stage.place))), stage.place.env)


@asynccontextmanager
async def open_api(stage: Stage) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the stage's API."""
    transport = httpx.ASGITransport(app=app_of(stage), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client

"""Asking the real API through its gate, route by route."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from courante.api.app import build_app
from courante.api.backend import Backend
from courante.api.route import Route
from courante.sdk.access.scopes import Scope
from courante.sdk.client.client import Client
from courante.sdk.settings import Settings
from integration.gated import caller, gate_of

SAFE = ("GET", "HEAD")
STREAM = "text/event-stream"
"""A stream of events need not end."""


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def spelled(route: Route, id: str, /, **places: str) -> str:
    """The path with this id in all places, but for those that are named."""
    return route.path.format(**{place: places.get(place, id) for place in route.places})


@asynccontextmanager
async def asking(client: Client, *scopes: Scope) -> AsyncGenerator[httpx.AsyncClient]:
    """Ask the real API, with a key of these scopes, or none."""
    app = build_app(Backend(client, Settings(home=Path("/nowhere"), env=client.keys.env)))
    key = ""
    if scopes:
        _, key = await client.access.create_key("-".join(scopes), [str(scope) for scope in scopes])
    async with caller(gate_of(client, app), key) as made:
        yield made

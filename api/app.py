"""The application: all declared routes as one ASGI application, over one client of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute
from starlette.routing import Route as Way

from ..sdk.access.scopes import anonymous
from .backend import Backend
from .bundles import Bundle
from .openapi import make_document
from .problems import Refused, answer_error, answer_problem, make_problem
from .route import Raw, Route, check_known
from .routes import ROUTES
from .site import site_ways

OPENAPI_PATH = "/v1/openapi.json"
Scope = dict[str, Any]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def build_app(backend: Backend, routes: Sequence[Route] = ROUTES) -> Starlette:
    """Return the application. Who asks is expected in ``scope["state"]["principal"]``; see ``as_anybody``."""
    content = msgspec.json.encode(make_document(routes))
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    ways: list[BaseRoute] = [
        Way(path, _endpoint(backend, methods), methods=list(methods), include_in_schema=False)
        for path, methods in sorted(by_path.items(), key=_literal_first)
    ]
    ways += site_ways()
    ways.append(Way(OPENAPI_PATH, _described(content)))
    app = Starlette(
        routes=ways, exception_handlers={HTTPException: _answer_stray}, middleware=[Middleware(_by_segments)]
    )
    app.router.redirect_slashes = False
    return app


def _by_segments(app: Asgi) -> Asgi:
    """Tell the parts of a path apart before they are decoded: a name may hold a slash. ``Asked.at`` undoes the rest."""

    async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
        if "%" in (raw := scope.get("raw_path", b"").decode("latin-1")):
            parts = [unquote(part).replace("%", "%25").replace("/", "%2F") for part in raw.split("/")]
            scope = {**scope, "path": "/".join(parts)}
        await app(scope, receive, send)

    return wrapped


def as_anybody(app: Asgi, env: str) -> Asgi:
    """Let everybody do everything: for a server that listens to this machine alone."""
    principal = anonymous(env)

    async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["principal"] = principal
        await app(scope, receive, send)

    return wrapped


def _literal_first(way: tuple[str, object]) -> list[bool]:
    """A name goes before a place that takes any: it has methods of its own."""
    return ["{" in part for part in way[0].split("/")]


def _endpoint(backend: Backend, methods: dict[str, Route]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method != "HEAD":
            return await methods[request.method].serve(request, backend)
        found = await methods["GET"].serve(request, backend)
        if isinstance(found, StreamingResponse | Bundle):  # it is long or has no end, and nothing of it is sent
            return Response(status_code=found.status_code, headers=found.headers)
        return found

    return answer


def _described(content: bytes) -> Callable[[Request], Awaitable[Response]]:
    """The document, for who is known, with any scope: a stranger learns neither routes nor version."""

    async def answer(request: Request) -> Response:
        request.state.route = OPENAPI_PATH
        try:
            check_known(getattr(request.state, "principal", None))
        except Refused as refused:
            return answer_error(refused)
        return Raw(content, media_type="application/json")

    return answer


async def _answer_stray(request: Request, error: Exception) -> Response:
    """A path or a method that no route has."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = make_problem("method_not_allowed", f"{request.method[:20]} is not for {request.url.path[:200]}")
    else:
        hint = f"GET {OPENAPI_PATH} describes all there is"
        problem = make_problem("not_found", f"there is nothing at {request.url.path[:200]}", hint=hint)
    return answer_problem(problem, error.headers)

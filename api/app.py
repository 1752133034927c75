"""The application: all declared routes as one ASGI application, over one client of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Way

from ..sdk.access.scopes import anonymous
from .backend import Backend
from .openapi import make_document
from .problems import answer_problem, make_problem
from .route import Raw, Route
from .routes import ROUTES
from .site import site_ways

OPENAPI_PATH = "/v1/openapi.json"
Scope = dict[str, Any]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def build_app(backend: Backend, routes: Sequence[Route] = ROUTES) -> Starlette:
    """Return the application. Who asks is expected in ``scope["state"]["principal"]``; see ``as_anybody``."""
    from .. import __version__

    content = msgspec.json.encode(make_document(routes, __version__))
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    ways: list[BaseRoute] = [
        Way(path, _endpoint(backend, methods), methods=list(methods), include_in_schema=False)
        for path, methods in by_path.items()
    ]
    ways += site_ways()
    ways.append(Way(OPENAPI_PATH, _constant(content)))
    app = Starlette(routes=ways, exception_handlers={HTTPException: _answer_stray})
    app.router.redirect_slashes = False
    return app


def as_anybody(app: Asgi, env: str) -> Asgi:
    """Let everybody do everything: for a server that listens to this machine alone."""
    principal = anonymous(env)

    async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["principal"] = principal
        await app(scope, receive, send)

    return wrapped


def _endpoint(backend: Backend, methods: dict[str, Route]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await methods[method].serve(request, backend)

    return answer


def _constant(content: bytes) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        del request
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

"""Routes: one declaration gives a handler its request, decoded and checked, and the OpenAPI document its operation.

What a handler takes stands in its own signature: ``Asked[Query, Body]``; what it gives, in its return type. The first
line of its docstring is the summary of the operation.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import UnionType
from typing import Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..sdk.access import Principal, Scope
from ..sdk.trace_context import HEADER as TRACEPARENT
from ..sdk.trace_context import known_part
from .aside import aside_if_large
from .backend import Backend
from .bodies import NoBody, NoQuery, check_plain, decode_body, decode_query
from .problems import INVALID, Refused, answer_error

Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")
JSON = "application/json"
IDEMPOTENCY_KEY = "Idempotency-Key"
_PLACES = re.compile(r"\{(\w+)\}")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Asked(Generic[Q, B]):
    """A request that may be answered. ``principal``: None only where a route is open to all."""

    request: Request
    backend: Backend
    principal: Principal | None
    query: Q
    body: B

    def at(self, name: str) -> str:
        """Return a part of the path."""
        return unquote(self.request.path_params[name])

    @property
    def key(self) -> str | None:
        """The header Idempotency-Key. Raises Refused for more than one: which was meant is not known."""
        given = self.request.headers.getlist(IDEMPOTENCY_KEY)
        if len(given) > 1:
            raise Refused("bad_value", f"there are {len(given)} headers {IDEMPOTENCY_KEY}", hint="send one")
        return given[0] if given else None

    @property
    def traceparent(self) -> str | None:
        """The header traceparent; None where it is none, or stands there twice: it may refuse nothing."""
        given = self.request.headers.getlist(TRACEPARENT)
        return known_part(given[0]) if len(given) == 1 else None

    async def prepared(self, make: Callable[[], T]) -> T:
        """Return what is made of the body: aside where that is large."""
        return await aside_if_large(len(await self.request.body()), make)

    def by(self, said: str | None = None) -> str:
        """Return who is to be named as the author of what is asked. said: whom the request itself names."""
        assert self.principal is not None, "only of a route that needs a scope"
        name = self.principal.name
        if not said:
            return name
        return said if self.principal.key_id is None else f"{name}: {said}"


@dataclass(frozen=True)
class Answer(Generic[T]):
    """An answer with a status of its own, and headers."""

    value: T
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {})


class Raw(Response):
    """An answer that is no JSON."""


Handler = Callable[[Asked[Any, Any]], Awaitable[Any]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, kw_only=True)
class Route:
    """``scope``: None where it is open to all. ``statuses``: of good answers, all of one type.

    ``errors``: codes of the problems that it may answer with, but for those that any route may. ``media_type``: of its
    answers. ``takes_key``: the header Idempotency-Key is read; ``takes_trace``: traceparent. ``has_stream``: it also
    gives server-sent events, where those are asked for. ``says_where``: with the header Location.
    ``invalid``: see ``problems.status_of``.
    """

    method: str
    path: str
    scope: Scope | None
    noun: str
    handler: Handler
    query: type[Any]
    body: type[Any]
    answer: Any
    statuses: tuple[int, ...]
    errors: tuple[str, ...]
    media_type: str
    takes_key: bool
    takes_trace: bool
    has_stream: bool
    says_where: bool
    invalid: HTTPStatus

    @property
    def name(self) -> str:
        """Of the operation: unique, and stable."""
        return f"{self.noun}_{self.handler.__name__.strip('_')}"

    @property
    def places(self) -> list[str]:
        """The names of what varies in the path."""
        return _PLACES.findall(self.path)

    @property
    def text(self) -> tuple[str, str]:
        """Summary and description."""
        first, _, rest = (inspect.getdoc(self.handler) or "").partition("\n")
        return first.strip().rstrip("."), rest.strip()

    async def serve(self, request: Request, backend: Backend) -> Response:
        """Answer one request, whatever comes."""
        try:
            principal: Principal | None = getattr(request.state, "principal", None)
            request.state.needed = self.scope
            request.state.route = self.path
            if self.scope is not None:
                check_scope(principal, self.scope)
            query = decode_query(request.query_params, self.query)
            body: Any = NoBody()
            if self.body is not NoBody:
                content, kind = await request.body(), request.headers.get("content-type", "")
                check_plain(content, request.headers.get("content-encoding", ""))
                body = await aside_if_large(len(content), partial(decode_body, content, kind, self.body))
            request.state.is_dry = getattr(body, "dry_run", False)
            found: Any = await self.handler(Asked(request, backend, principal, query, body))
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it is told
            return answer_error(error, self.invalid)
        if isinstance(found, Response):
            return found
        given = cast("Answer[Any]", found) if isinstance(found, Answer) else Answer(found, self.statuses[0])
        return Response(_encode(given.value), given.status, headers=given.headers, media_type=JSON)


def _without_response(answer: Any) -> Any:
    """What a handler gives as JSON, where it may also give something else."""
    kinds = [kind for kind in get_args(answer) if kind is not Response]
    return kinds[0] if isinstance(answer, UnionType) and len(kinds) == 1 else answer


def check_known(principal: Principal | None) -> Principal:
    """Raises Refused."""
    if principal is None:
        hint = "send a key: Authorization: Bearer KEY"
        raise Refused("unauthenticated", "nobody is known to ask", hint=hint, headers={"WWW-Authenticate": "Bearer"})
    return principal


def check_scope(principal: Principal | None, scope: Scope) -> None:
    """Raises Refused."""
    known = check_known(principal)
    if not known.may(scope):
        raise Refused("forbidden", f"{known.name} may not do this: it needs the scope {str(scope)!r}")


class Routes:
    """The routes of one noun, declared one by one."""

    def __init__(self, noun: str, *, invalid: HTTPStatus = INVALID) -> None:
        self.noun = noun
        self.invalid = invalid
        self.all: list[Route] = []

    def get(self, path: str, **options: Any) -> Callable[[H], H]:
        return self.add("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[H], H]:
        return self.add("POST", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[H], H]:
        return self.add("DELETE", path, **options)

    def add(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        statuses: Sequence[int] = (200,),
        errors: Sequence[str] = (),
        media_type: str = JSON,
        takes_key: bool = False,
        takes_trace: bool = False,
        has_stream: bool = False,
        says_where: bool = False,
    ) -> Callable[[H], H]:
        """Declare a route. See ``Route``."""

        def keep(handler: H) -> H:
            hints = get_type_hints(handler)
            answer = _without_response(hints.pop("return"))
            (asked,) = hints.values()
            query, body = get_args(asked)
            self.all.append(
                Route(
                    method=method,
                    path=path,
                    scope=scope,
                    noun=self.noun,
                    handler=handler,
                    query=query,
                    body=body,
                    answer=get_args(answer)[0] if get_origin(answer) is Answer else answer,
                    statuses=tuple(statuses),
                    errors=tuple(errors),
                    media_type=media_type,
                    takes_key=takes_key,
                    takes_trace=takes_trace,
                    has_stream=has_stream,
                    says_where=says_where,
                    invalid=self.invalid,
                )
            )
            return handler

        return keep


__all__ = [
    "TRACEPARENT",
    "Answer",
    "Asked",
    "NoBody",
    "NoQuery",
    "Raw",
    "Route",
    "Routes",
    "check_known",
    "check_scope",
]

"""The OpenAPI 3.1 document, made of the declared routes and of the structs that they take and give. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec

from .bodies import JSON_TYPE, YAML_TYPES, NoBody, NoQuery, RawDocument, is_optional, list_fields
from .problems import MEDIA_TYPE, Problem, status_of
from .route import IDEMPOTENCY_KEY, JSON, TRACEPARENT, Route
from .security.forgery import SAFE_METHODS
from .streams import EVENT_STREAM

VERSION = "3.1.0"
API_VERSION = "1"
"""That of the paths. Which release answers is nobody's business who has no key."""
REF = "#/components/schemas/{name}"
Json = dict[str, Any]
_KEY_TEXT = "Of a request that is sent again: the same key is the same run."
_TRACE_TEXT = "W3C Trace Context: the run's trace is linked to it. What is none counts for nothing."
_LAST_TEXT = "The id of what was told last: a stream goes on behind it."
_AGAIN = {"description": "After how many seconds to ask again", "required": True, "schema": {"type": "integer"}}
_CHALLENGE = {"description": "Bearer", "required": True, "schema": {"type": "string"}}
_LOCATION = {"description": "The path of what was made", "required": True, "schema": {"type": "string"}}
_HEADERS: dict[int, Json] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": _CHALLENGE},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": _AGAIN},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": _AGAIN},
}
"""Of refusals, by their status."""


def make_document(routes: Sequence[Route]) -> Json:
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Courante",
            "version": API_VERSION,
            "description": "Workflows and their runs. Times are ISO 8601 in UTC; cursors are opaque; every refusal is "
            "a problem (RFC 9457) with a stable code. A browser may have a session in place of a key: POST /v1/login.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": noun} for noun in dict.fromkeys(route.noun for route in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key of the API."}},
        },
    }


def _types(routes: Iterable[Route]) -> Iterable[Any]:
    yield Problem
    for route in routes:
        if route.query is not NoQuery:
            yield route.query
        if route.body not in (NoBody, RawDocument):
            yield route.body
        if route.media_type == JSON:
            yield route.answer


def _operation(route: Route, schema_of: dict[Any, Json], components: Json) -> Json:
    summary, description = route.text
    said: Json = {"operationId": route.name, "tags": [route.noun], "summary": summary}
    if description:
        said["description"] = description
    parameters = [_place(name) for name in route.places] + _parameters(route, schema_of, components)
    if route.takes_key:
        parameters.append(_header(IDEMPOTENCY_KEY, _KEY_TEXT, minLength=1, maxLength=512))
    if route.takes_trace:
        parameters.append(_header(TRACEPARENT, _TRACE_TEXT))
    if route.has_stream or route.media_type == EVENT_STREAM:
        parameters.append(_header("Last-Event-ID", _LAST_TEXT))
    if parameters:
        said["parameters"] = parameters
    if route.body is RawDocument:
        said["requestBody"] = _document_body()
    elif route.body is not NoBody:
        body = {"content": {JSON_TYPE: {"schema": schema_of[route.body]}}, "required": not is_optional(route.body)}
        said["requestBody"] = body
    said["responses"] = _responses(route, schema_of)
    said["security"] = [] if route.scope is None else [{"key": [str(route.scope)]}]
    return said


def _place(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _header(name: str, text: str, **bounds: int) -> Json:
    schema = {"type": "string", **bounds}
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": text}


def _parameters(route: Route, schema_of: dict[Any, Json], components: Json) -> list[Json]:
    if route.query is NoQuery:
        return []
    name = schema_of[route.query]["$ref"].rpartition("/")[2]
    schema: Json = components[name]
    required, lists = schema.get("required", []), list_fields(route.query)
    found: list[Json] = []
    for parameter, kind in schema["properties"].items():
        one: Json = {"name": parameter, "in": "query", "required": parameter in required, "schema": _present(kind)}
        if parameter in lists:
            one |= {"style": "form", "explode": True}
        found.append(one)
    return found


def _present(kind: Json) -> Json:
    """The schema of a parameter that is there: what may be null may be left out."""
    kinds = [each for each in cast("list[Json]", kind.get("anyOf", [])) if each != {"type": "null"}]
    rest = {name: value for name, value in kind.items() if name not in ("anyOf", "default")}
    if len(kinds) == 1:
        return {**kinds[0], **rest}
    default = kind.get("default")
    return {**rest, **({"anyOf": kinds} if kinds else {}), **({} if default is None else {"default": default})}


def _document_body() -> Json:
    anything = {"type": "object", "description": "A workflow document, in any of the dialects."}
    content: Json = {JSON_TYPE: {"schema": anything}, YAML_TYPES[0]: {"schema": {}}}
    return {"content": content, "required": True}


def _responses(route: Route, schema_of: dict[Any, Json]) -> Json:
    schema: Json = schema_of[route.answer] if route.media_type == JSON else {}
    content: Json = {route.media_type: {"schema": schema}}
    if route.has_stream:
        content[EVENT_STREAM] = {"schema": {}}
    said: Json = {
        str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in route.statuses
    }
    if route.says_where:
        for status in route.statuses:
            said[str(status)]["headers"] = {"Location": _LOCATION}
    if route.has_stream:
        said["204"] = {"description": "No more is to come"}
    if route.query is not NoQuery:  # the connection says this, before any route sees the request
        said["431"] = {"description": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE.phrase}
    by_status: dict[int, list[str]] = {}
    for code in sorted({*route.errors, *_common(route)}):
        by_status.setdefault(int(status_of(code, route.invalid)), []).append(code)
    for status, codes in sorted(by_status.items()):
        said[str(status)] = {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
            "content": {MEDIA_TYPE: {"schema": schema_of[Problem]}},
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
    return said


def _common(route: Route) -> list[str]:
    """Codes of problems that many routes may answer with."""
    codes = ["query_invalid", "internal_error", "rate_limited", "host_invalid", "host_not_served", "origin_refused"]
    if route.scope is not None:
        codes += ["unauthenticated", "forbidden", "service_unavailable"]
    if route.method not in SAFE_METHODS:
        codes.append("csrf_refused")
    if route.body is not NoBody:
        codes += ["body_not_supported", "body_too_large", "body_too_deep", "body_too_slow"]
        codes += [] if route.body is RawDocument else ["body_not_json", "body_invalid"]
    if route.places or route.query is not NoQuery or route.body is not NoBody:
        codes.append("bad_value")
    return codes

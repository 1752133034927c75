"""The OpenAPI document is that of the routes, and what comes from outside is decoded as it says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta
from schemathesis.specs.openapi import definitions
from starlette.datastructures import QueryParams

from courante import __version__
from courante.api.bodies import RawDocument, decode_body, decode_query
from courante.api.openapi import make_document
from courante.api.problems import STATUSES, Refused, answer_error
from courante.api.routes import ROUTES

OPENAPI_31: Any = definitions.OPENAPI_31_VALIDATOR


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=10)] = 5
    kind: Literal["x", "y"] | None = None
    workflow: str | None = None
    tag: list[str] = msgspec.field(default_factory=lambda: [])
    is_all: bool = False


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str = "nobody"
    data: Any = None


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return make_document(ROUTES)


def test_every_route_is_an_operation(document: dict[str, Any]) -> None:
    """With a name of its own, a summary, the scope it needs, and all references within the document."""
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert len(operations) == len(ROUTES)
    assert len({one["operationId"] for one in operations}) == len(ROUTES)
    assert all(one["summary"] and one["responses"] for one in operations)
    needed = {(route.path, route.method): route.scope for route in ROUTES}
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            scope = needed[path, method.upper()]
            assert one["security"] == ([] if scope is None else [{"key": [str(scope)]}])
            assert {p["name"] for p in one.get("parameters", ()) if p["in"] == "path"} == set(places(path))
    text = msgspec.json.encode(document).decode()
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= set(document["components"]["schemas"])


def test_it_names_no_release(document: dict[str, Any]) -> None:
    """Who has no key may read it, and learns nothing of which faults there may be."""
    assert document["info"]["version"] == "1"
    assert f'"{__version__}"' not in msgspec.json.encode(document).decode()


def places(path: str) -> list[str]:
    return [part.split("}")[0] for part in path.split("{")[1:]]


def test_it_is_well_formed(document: dict[str, Any]) -> None:
    """By the schema that OpenAPI 3.1 has of such documents; one that is not would be found."""
    assert [str(fault) for fault in OPENAPI_31.iter_errors(document)] == []
    assert list(OPENAPI_31.iter_errors(document | {"paths": {"no-slash": 3}}))


def test_headers_are_named(document: dict[str, Any]) -> None:
    """Those that a request may have, and those that an answer has: what a stream goes on behind, when to come again."""
    paths = document["paths"]
    taken = {
        (path, parameter["name"])
        for path, methods in paths.items()
        for one in methods.values()
        for parameter in one.get("parameters", ())
        if parameter["in"] == "header"
    }
    starts = ("/v1/runs", "/v1/runs/batch", "/runs", "/api/workflows/{slug}/run")
    streams = ("/v1/events", "/v1/runs/{run_id}/events", "/v1/runs/{run_id}/logs")
    assert taken == {
        *((path, name) for path in starts for name in ("Idempotency-Key", "traceparent")),
        ("/runs/{run_id}/update", "Idempotency-Key"),
        *((path, "Last-Event-ID") for path in streams),
    }
    answers = paths["/v1/runs"]["post"]["responses"]
    told = {status: list(answer["headers"]) for status, answer in answers.items() if "headers" in answer}
    assert told == {
        "201": ["Location"],
        "401": ["WWW-Authenticate"],
        "429": ["Retry-After"],
        "503": ["Retry-After"],
    }


def test_what_can_be_followed_says_so(document: dict[str, Any]) -> None:
    """A page of JSON, or server-sent events, or that nothing more is to come."""
    for path in ("/v1/runs/{run_id}/events", "/v1/runs/{run_id}/logs"):
        answers = document["paths"][path]["get"]["responses"]
        assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}
        assert "content" not in answers["204"]


def test_every_code_of_a_route_has_a_status() -> None:
    """A refusal that a route may give is never 400 by accident."""
    assert {code for route in ROUTES for code in route.errors} <= set(STATUSES)


def test_a_query_is_decoded() -> None:
    """Numbers and words by their types; a list may stand there several times."""
    found = decode_query(QueryParams("limit=3&tag=a&tag=null&is_all=true&workflow=null"), Query)
    assert (found.limit, found.tag, found.is_all, found.workflow) == (3, ["a", "null"], True, "null")
    assert decode_query(QueryParams(""), Query) == Query()


@pytest.mark.parametrize(
    "text", ["limit=11", "limit=x", "limit=1&limit=2", "limt=1", "is_all=perhaps", "limit=", "kind=null"]
)
def test_a_query_that_is_wrong(text: str) -> None:
    """The parameter is named, and the nearest that is known."""
    with pytest.raises(Refused) as error:
        decode_query(QueryParams(text), Query)
    assert error.value.code == "query_invalid"
    assert error.value.faults[0].path in {"limit", "limt", "is_all", "kind"}
    assert text != "limt=1" or error.value.hint == "did you mean 'limit'?"


@pytest.mark.parametrize(
    ("content", "kind", "code", "path"),
    [
        (b"{", "application/json", "body_not_json", ""),
        (b"\xff", "application/json", "body_not_json", ""),
        (b'{"name": "\\ud800"}', "application/json", "body_not_json", ""),
        (b'{"data": ' + b"[" * 100_000, "application/json", "body_not_json", ""),
        (b'{"name": 3}', "application/json", "body_invalid", "name"),
        (b'{"nam": "x"}', "application/json", "body_invalid", ""),
        (b'{"data": {"a": [{"b": 1, "b": 2}]}}', "application/json", "body_invalid", "data.a[0].b"),
        (b'{"data": NaN}', "application/json", "body_not_json", ""),
        (b"name=x", "application/x-www-form-urlencoded", "body_not_supported", ""),
        (b"{}", "", "body_not_supported", ""),
    ],
)
def test_a_body_that_is_wrong(content: bytes, kind: str, code: str, path: str) -> None:
    """It is refused with its place, and never with a fault of ours."""
    with pytest.raises(Refused) as error:
        decode_body(content, kind, Body)
    assert (error.value.code, error.value.faults[0].path if error.value.faults else "") == (code, path)
    assert answer_error(error.value).status_code == STATUSES[code]


def test_a_body_that_is_right() -> None:
    """JSON in any of its spellings; nothing at all where all has a default; a document as it is."""
    assert decode_body(b"", "", Body) == Body()
    assert decode_body(b'{"name": "x", "data": [1]}', "application/vnd.x+json; charset=utf-8", Body).data == [1]
    assert decode_body(b"id: x", "text/yaml", RawDocument) == RawDocument(b"id: x", is_json=False)


def test_what_nobody_expected_is_told_without_its_cause() -> None:
    """A fault of ours says nothing of itself, also when a group of tasks wraps it."""
    for error in (ValueError("secret"), ExceptionGroup("x", [ExceptionGroup("y", [KeyError("secret")])])):
        answer = answer_error(error)
        assert answer.status_code == 500
        assert b"secret" not in bytes(answer.body)

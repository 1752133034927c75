"""Schema cases: requests that are drawn from the OpenAPI document by schemathesis, such that it allows and such that
it forbids, and what must hold of every answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple, cast

import msgspec
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.core.failures import FailureGroup

from courante.api.bodies import RawDocument
from courante.api.openapi import make_document
from courante.api.problems import MEDIA_TYPE as PROBLEM
from courante.api.route import Route
from courante.api.routes import ROUTES
from integration.api_asking import STREAM, named

SCHEMATHESIS: Any = import_module("schemathesis")
"""Half of its types are unknown."""
OF_OPENAPI: Any = import_module("schemathesis.specs.openapi.checks")
WRONG_IS_REFUSED: Any = OF_OPENAPI.negative_data_rejection
CHECKS: list[Any] = [
    import_module("schemathesis.checks").not_a_server_error,
    OF_OPENAPI.status_code_conformance,
    OF_OPENAPI.content_type_conformance,
    OF_OPENAPI.response_headers_conformance,
    OF_OPENAPI.response_schema_conformance,
    WRONG_IS_REFUSED,
]
CONFIG = {
    "generation": {"with-security-parameters": False},
    "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
}
DOCUMENT = make_document(ROUTES)
STRAY = ("not_found", "method_not_allowed")
"""Where a part of the path was drawn that leads to no route."""
TOLD_CHARS = 3_000
Known = Mapping[str, str]


class Drawn(NamedTuple):
    route: Route
    case: Any


def draw(count: int) -> list[Drawn]:
    """Draw so many allowed requests of each route, and half as many forbidden ones; the same ones each time."""
    by_place = {(route.method, route.path): route for route in ROUTES if route.media_type != STREAM}
    config = SCHEMATHESIS.Config.from_dict(CONFIG)
    schema = SCHEMATHESIS.openapi.from_dict(make_document(ROUTES), config=config)
    drawn: list[Drawn] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        route = by_place.get((operation.method.upper(), operation.path))
        right, wrong = SCHEMATHESIS.GenerationMode.POSITIVE, SCHEMATHESIS.GenerationMode.NEGATIVE
        for mode in (right, wrong):
            if route is not None and (mode is right or _can_be_wrong(route)):
                drawn += [
                    Drawn(route, case) for case in _cases(operation, mode, count if mode is right else count // 2)
                ]
    return drawn


def refer(drawn: list[Drawn], known: Known) -> list[Drawn]:
    """Let every second allowed request speak of what there is, by the places of its path and the fields of its body."""
    for number, (_, case) in enumerate(drawn):
        if number % 2 == 0 and case.meta is not None and case.meta.generation.mode.is_positive:
            for place in case.path_parameters:
                case.path_parameters[place] = known.get(place, case.path_parameters[place])
            content: object = case.body
            if isinstance(content, dict):
                body = cast("dict[str, Any]", content)
                body.update({field: known[field] for field in known if isinstance(body.get(field), str)})
    return drawn


def ask(session: requests.Session, url: str, drawn: Drawn) -> Any:
    """Send a request; of a document that is wrong the answer says so and may be a good one.

    Raises AssertionError of what is wrong with the answer.
    """
    answer = drawn.case.call(base_url=url, session=session)
    check_code(drawn.route, answer.status_code, answer.headers.get("content-type", ""), answer.content)
    checks = [each for each in CHECKS if drawn.route.body is not RawDocument or each is not WRONG_IS_REFUSED]
    try:
        drawn.case.validate_response(answer, checks=checks)
    except FailureGroup as found:
        raise AssertionError(str(found)[:TOLD_CHARS]) from None
    return answer


def check_code(route: Route, status: int, content_type: str, content: bytes) -> None:
    """Raises AssertionError of a refusal whose code the document does not name for this route and status."""
    if content_type != PROBLEM:
        return
    code = msgspec.json.decode(content)["code"]
    said = DOCUMENT["paths"][route.path][route.method.lower()]["responses"].get(str(status), {}).get("description", "")
    declared = said.partition(": ")[2].split(", ")
    assert code in (*declared, *STRAY), f"{named(route)}: {status} {code}, and the document says {said!r}"


def _can_be_wrong(route: Route) -> bool:
    """A path can lead to nothing, but it is a path."""
    return bool(route.query.__struct_fields__ or route.body.__struct_fields__)


def _cases(operation: Any, mode: object, count: int) -> list[Any]:
    cases: list[Any] = []

    @seed(7)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(operation.as_strategy(generation_mode=mode))
    def keep(case: object) -> None:
        cases.append(case)

    keep()
    return cases

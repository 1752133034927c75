"""Problems: how every refusal is told, as ``application/problem+json`` (RFC 9457) with a stable code.

One table maps what the engine raises to a status. What is not in it is a fault of ours: it is logged with its
traceback, and the caller learns nothing but that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import cast

import asyncpg
import msgspec
import structlog
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ..compiler.diagnostics import Diagnostic
from ..sdk import errors
from ..sdk.server_errors import POSTGRES_ERRORS
from ..sdk.stores import errors as stores

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
CLI = "courante "
"""In a hint that names a command."""
INVALID = HTTPStatus.UNPROCESSABLE_ENTITY
log = structlog.get_logger()

STATUSES: Mapping[str, HTTPStatus] = {
    "already_decided": HTTPStatus.CONFLICT,
    "approver_not_separate": HTTPStatus.FORBIDDEN,
    "anchor_outdated": HTTPStatus.CONFLICT,
    "api_key_exists": HTTPStatus.CONFLICT,
    "api_key_not_found": HTTPStatus.NOT_FOUND,
    "artifact_gone": HTTPStatus.GONE,
    "artifact_not_found": HTTPStatus.NOT_FOUND,
    "bad_value": HTTPStatus.UNPROCESSABLE_ENTITY,
    "body_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "body_too_deep": HTTPStatus.UNPROCESSABLE_ENTITY,
    "body_too_slow": HTTPStatus.REQUEST_TIMEOUT,
    "body_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "body_not_json": HTTPStatus.BAD_REQUEST,
    "body_not_supported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "document_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "event_not_found": HTTPStatus.NOT_FOUND,
    "forbidden": HTTPStatus.FORBIDDEN,
    "csrf_refused": HTTPStatus.FORBIDDEN,
    "host_invalid": HTTPStatus.BAD_REQUEST,
    "host_not_served": HTTPStatus.MISDIRECTED_REQUEST,
    "idempotency_conflict": HTTPStatus.CONFLICT,
    "input_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "ir_not_found": HTTPStatus.NOT_FOUND,
    "key_unusable": HTTPStatus.UNPROCESSABLE_ENTITY,
    "log_corrupt": HTTPStatus.CONFLICT,
    "log_archived": HTTPStatus.GONE,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "not_found": HTTPStatus.NOT_FOUND,
    "not_migratable": HTTPStatus.CONFLICT,
    "not_restartable": HTTPStatus.CONFLICT,
    "nothing_waits": HTTPStatus.CONFLICT,
    "origin_refused": HTTPStatus.FORBIDDEN,
    "payload_unreadable": HTTPStatus.CONFLICT,
    "query_invalid": HTTPStatus.BAD_REQUEST,
    "run_not_ended": HTTPStatus.CONFLICT,
    "run_not_found": HTTPStatus.NOT_FOUND,
    "schedule_exists": HTTPStatus.CONFLICT,
    "schedule_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "schedule_not_found": HTTPStatus.NOT_FOUND,
    "service_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "step_not_found": HTTPStatus.NOT_FOUND,
    "step_unclear": HTTPStatus.CONFLICT,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "version_not_found": HTTPStatus.NOT_FOUND,
    "webhook_exists": HTTPStatus.CONFLICT,
    "webhook_invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "webhook_not_found": HTTPStatus.NOT_FOUND,
    "workflow_exists": HTTPStatus.CONFLICT,
    "workflow_not_found": HTTPStatus.NOT_FOUND,
}
"""By the code of a problem; what is not here and is known is 400."""
_HINTS = {
    "run_not_found": "GET /v1/runs lists the runs of this environment",
    "run_not_ended": "POST /v1/runs/{run_id}/cancel ends it",
    "schedule_not_found": "GET /v1/schedules lists those of this environment",
    "workflow_not_found": "GET /v1/workflows lists what is registered; POST /v1/workflows registers a document",
    "api_key_not_found": "GET /v1/keys lists those of this environment",
    "api_key_exists": "give another name, or revoke that one: DELETE /v1/keys/{id}",
    "webhook_not_found": "GET /v1/webhooks lists those of this environment",
    "nothing_waits": "GET /v1/approvals lists the steps that wait for a decision",
    "service_unavailable": "ask again; with the same Idempotency-Key where it must not be done twice",
}
"""Where the engine gives no hint, or one that names a command of its command line."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the things that are wrong with a request. ``path``: where in it. ``line``, ``column``: from 1."""

    message: str
    code: str = ""
    severity: str = ""
    path: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal. ``code``: stable. ``detail``: what is wrong; ``hint``: what to do, may be empty.

    ``cli_hint``: the same, where it names commands of the command line. ``errors``: every single fault, where there are
    several or where each has a place.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    cli_hint: str = ""
    errors: tuple[Fault, ...] = ()


class Refused(Exception):
    """Raised by the API itself. ``headers``: what the answer has besides."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str = "",
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def make_problem(code: str, detail: str, *, hint: str = "", faults: Sequence[Fault] = ()) -> Problem:
    status = status_of(code)
    return Problem(
        type=f"urn:courante:problem:{code}",
        title=status.phrase,
        status=int(status),
        detail=detail,
        code=code,
        hint=_HINTS.get(code, hint) if not hint or CLI in hint else hint,
        cli_hint=hint if CLI in hint else "",
        errors=tuple(faults),
    )


def status_of(code: str, invalid: HTTPStatus = INVALID) -> HTTPStatus:
    """Return the status of a problem. invalid: of what is well formed and yet cannot be, where that is not 422."""
    status = STATUSES.get(code, HTTPStatus.BAD_REQUEST)
    return invalid if status is INVALID else status


def answer_problem(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request that was refused."""
    more = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        headers={**more, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def answer_error(error: BaseException, invalid: HTTPStatus = INVALID) -> Response:
    """Return the answer to a request that failed with this error. invalid: see ``status_of``."""
    problem, found = _problem_of(error), _leaf(error)
    if problem.status == INVALID:
        problem = msgspec.structs.replace(problem, status=int(invalid), title=invalid.phrase)
    return answer_problem(problem, found.headers if isinstance(found, Refused) else None)


def _problem_of(error: BaseException) -> Problem:
    found = _leaf(error)
    if isinstance(found, Refused):
        return make_problem(found.code, found.detail, hint=found.hint, faults=found.faults)
    if isinstance(found, ClientDisconnect):
        return make_problem("body_incomplete", "the client has gone before its body was complete")
    known = _known(found)
    if known is None:
        log.error("request_failed", exc_info=error)
        known = make_problem("internal_error", "this is a fault of the server; its log says more")
    return known


def faults_of(diagnostics: Sequence[Diagnostic]) -> list[Fault]:
    return [
        Fault(
            message=found.message,
            code=found.code,
            severity=str(found.severity),
            path=path_text(found.path),
            line=found.line,
            column=found.column,
            hint=found.hint,
        )
        for found in diagnostics
    ]


def path_text(path: Sequence[str | int]) -> str:
    """``nodes[3].config.url``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _leaf(error: BaseException) -> BaseException:
    """The first of the errors that a task group wraps, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _known(error: BaseException) -> Problem | None:
    if isinstance(error, errors.CouranteError):
        return make_problem(error.code, error.message, hint=error.hint, faults=_faults(error))
    if isinstance(error, stores.UnknownRun):
        return make_problem("run_not_found", str(error))
    if isinstance(error, stores.UnknownWorkflow):
        return make_problem("workflow_not_found", str(error))
    if isinstance(error, stores.LogArchived):
        return make_problem("log_archived", error.told)
    if isinstance(error, stores.NotEnded):
        return make_problem("run_not_ended", str(error), hint=f"courante cancel {error.run_id}")
    if isinstance(error, stores.BadFilter):
        return make_problem("query_invalid", str(error), faults=[Fault(message=str(error), path=error.field)])
    if isinstance(error, asyncpg.DataError):
        return make_problem("bad_value", f"Postgres cannot hold a value of the request: {error}")
    if isinstance(error, RedisError):
        return make_problem("service_unavailable", "Redis cannot be used now")
    if isinstance(error, POSTGRES_ERRORS):
        return make_problem("service_unavailable", "Postgres cannot be used now")
    return None


def _faults(error: errors.CouranteError) -> list[Fault]:
    """What an error says beyond its message."""
    if isinstance(error, errors.InputInvalid):
        return [Fault(message=problem) for problem in error.problems]
    if isinstance(error, errors.DocumentInvalid):
        return faults_of(error.diagnostics)
    if isinstance(error, errors.StepUnclear):
        return [Fault(message=step, path="step") for step in error.steps]
    if isinstance(error, errors.NotMigratable):
        return [
            Fault(message=one.message, code=one.code, path=f"{one.node} {one.scope}".strip(), hint=one.hint)
            for one in error.blockers
        ]
    return []

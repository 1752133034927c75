"""Refusals: what an API answers instead of what was asked for, told as the command tells it without one. Pure."""

from __future__ import annotations

from http import HTTPStatus

import httpx
import msgspec

from ...api.problems import MEDIA_TYPE, Problem
from ..exits import CliError, ExitCode, refused

API_PATH = "/v1/"
FOR_THE_KEY = "COURANTE_API_KEY holds the key, or COURANTE_API_KEY_FILE names a file that does"
TOO_LONG = (HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
FOR_THE_URL = "is it running, and is COURANTE_API_URL right? Without it Redis and Postgres themselves are used"


def refusal(answer: httpx.Response, url: str, *, has_key: bool) -> CliError:
    """Return what an answer that is no good one says. Its body is read. url: of the API."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if answer.status_code in TOO_LONG:
        hint = "name fewer at once, or say by filters which are meant"
        return CliError(ExitCode.USAGE, "request_too_long", f"{asked(answer)} is too long a question for {url}", hint)
    if kind != MEDIA_TYPE:
        return no_api(url, f"{answer.status_code} {answer.reason_phrase}".strip(), answer)
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.MsgspecError as error:
        return other_version(url, f"its refusal of {asked(answer)} cannot be read: {error}")
    return told(problem, asked(answer), url, has_key=has_key)


def told(problem: Problem, what: str, url: str, *, has_key: bool) -> CliError:
    """Return a problem as an error of the command line. what: was asked for."""
    code, message, hint = problem.code, problem.detail, problem.hint
    if code == "unauthenticated":
        if not has_key:
            return CliError(ExitCode.SERVICE, code, f"the API at {url} wants a key", FOR_THE_KEY)
        return CliError(ExitCode.SERVICE, code, f"the API at {url} refuses the key: {message}", hint or FOR_THE_KEY)
    if code == "forbidden":
        hint = "another key may: courante keys create NAME --scope SCOPE, asked by somebody with the scope admin"
        return CliError(ExitCode.SERVICE, code, message, hint)
    if code in ("not_found", "method_not_allowed"):
        return other_version(url, f"it knows no {what}")
    if code == "internal_error":
        return CliError(ExitCode.SERVICE, code, f"the API at {url} has failed: {message}", "")
    if code == "query_invalid" and problem.errors and problem.errors[0].path:
        return CliError(ExitCode.USAGE, f"bad_{problem.errors[0].path}", message)
    problems = [fault.message for fault in problem.errors] if code in ("input_invalid", "schedule_invalid") else ()
    return refused(code, message, problem.cli_hint or ("" if API_PATH in hint else hint), problems)


def other_version(url: str, why: str) -> CliError:
    from ... import __version__

    hint = f"this is courante {__version__}: use the version that the server has"
    return CliError(ExitCode.SERVICE, "api_other_version", f"the API at {url} is of another version: {why}", hint)


def no_api(url: str, said: str, answer: httpx.Response) -> CliError:
    """What answers is something else, or something in between. said: how it answers."""
    place = answer.headers.get("location", "")
    if place and HTTPStatus.MULTIPLE_CHOICES <= answer.status_code < HTTPStatus.BAD_REQUEST:
        hint = "nothing is followed, for the key would go along; if that is the API, set COURANTE_API_URL to it"
        return CliError(ExitCode.SERVICE, "api_unusable", f"{url} sends on to {place:.200}", hint)
    kind = answer.headers.get("content-type", "") or "no content"
    message = f"what answers at {url} is no API of courante: {said}, {kind:.100}"
    return CliError(ExitCode.SERVICE, "api_unusable", message, "is COURANTE_API_URL right?")


def away(url: str, error: httpx.TransportError) -> CliError:
    """Nothing has answered."""
    reason = _root(error)
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = "SSL_CERT_FILE names a file with the certificate of whoever has signed it"
        return CliError(ExitCode.SERVICE, "api_not_trusted", f"the certificate of {url} is not trusted: {reason}", hint)
    if "[SSL" in reason:
        hint = "does it speak TLS, as https:// says? Else COURANTE_API_URL begins with http://"
        return CliError(ExitCode.SERVICE, "api_unreachable", f"no TLS with {url}: {reason}", hint)
    if isinstance(error, httpx.RemoteProtocolError | httpx.LocalProtocolError):
        message = f"what answers at {url} does not speak HTTP, or has broken off: {reason}"
        return CliError(ExitCode.SERVICE, "api_unusable", message, "is COURANTE_API_URL right?")
    return CliError(ExitCode.SERVICE, "api_unreachable", f"the API at {url} does not answer: {reason}", FOR_THE_URL)


def asked(answer: httpx.Response) -> str:
    """``GET /v1/runs``."""
    request = answer.request
    return f"{request.method} {request.url.path}"


def _root(error: BaseException) -> str:
    """What lies below: httpx says no more than that all attempts have failed."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or {"ConnectTimeout": "no connection in time", "TimeoutError": "no answer in time"}.get(
        type(error).__name__, type(error).__name__
    )

"""Calling a service: one request within a worker's reach, its redirects, and what is made of the answer.

Redirects are followed here: what the document sends does not go on to another host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import httpx

from ...compiler.http_config import BYTES_MAX
from ...sdk.http.client import Connections
from ...sdk.http.reach import AddressRefused
from ...sdk.outcomes.step_context import StepError
from ...sdk.sealing.artifacts import CONTENT_TYPE, Artifact
from ...sdk.secrets.redaction import mask_values
from ...sdk.user_errors import FatalError
from .answer import as_json, as_text, is_json, is_text, kept_headers, read_body
from .refusal import STATUS_MAX, read_refusal, refused
from .request import Call, check_url

BYTES_DEFAULT = 16 * 1024 * 1024
REDIRECTS_DEFAULT = 5
UNLIMITED_S = 600.0
"""How long an attempt may take where its node has no timeout: a server that sends a byte a minute never ends."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NEUTRAL = frozenset({"accept", "accept-encoding", "user-agent", "content-type"})


class HttpTools(Protocol):
    """What a call needs of its worker."""

    @property
    def connections(self) -> Connections: ...

    async def keep_artifact(self, content: bytes, content_type: str) -> Artifact: ...


class UnexpectedStatus(FatalError):
    """A status that is no error, or none that HTTP knows, and not one of those that the node expects."""


class RedirectRefused(FatalError):
    """Too many redirects, or one that would hand on what it must not."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer shall be like."""

    expect: tuple[str, ...]
    response: str
    bytes_max: int
    redirects: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        return cls(
            tuple(config.get("expect", ("2xx",))),
            config.get("response", "auto"),
            min(config.get("max_bytes", BYTES_DEFAULT), BYTES_MAX),
            config.get("redirects", REDIRECTS_DEFAULT),
        )

    def expects(self, status: int) -> bool:
        return str(status) in self.expect or f"{status // 100}xx" in self.expect


async def send_call(call: Call, wanted: Wanted, tools: HttpTools) -> dict[str, Any]:
    """Send a request, follow redirects, and return status, headers and body. Raises StepError and what httpx raises."""
    try:
        return await _send(call, wanted, tools)
    except httpx.UnsupportedProtocol as error:
        raise StepError("INPUT_INVALID", str(error)) from error


async def _send(call: Call, wanted: Wanted, tools: HttpTools) -> dict[str, Any]:
    for left in range(wanted.redirects, -1, -1):
        response = await tools.connections.handle_async_request(call.request())
        try:
            target = response.headers.get("location")
            if response.status_code not in _REDIRECTS or target is None or wanted.expects(response.status_code):
                return await _output(call, response, wanted, tools)
            if not wanted.redirects:
                raise UnexpectedStatus(f"HTTP {response.status_code}: a redirect, and redirects: 0 follows none")
            if not left:
                raise RedirectRefused(f"more than {wanted.redirects} redirects")
            call = _redirected(call, response.status_code, target)
        finally:
            await response.aclose()
    raise AssertionError


def _redirected(call: Call, status: int, target: str) -> Call:
    """Return the next call. Raises RedirectRefused, AddressRefused."""
    try:
        url = call.url.join(target)
        check_url(url)
    except (httpx.InvalidURL, ValueError, StepError) as error:
        raise AddressRefused(f"redirected to where nobody may go: {error}") from error
    is_read_again = status == 303 or (status in (301, 302) and call.method == "POST")
    changed = replace(call, url=url)
    if is_read_again and call.method != "HEAD":
        headers = {name: value for name, value in call.headers.items() if name != "content-type"}
        changed = replace(changed, method="GET", content=None, headers=headers)
    if _origin(url) == _origin(call.url):
        return changed
    if changed.content is not None:
        raise RedirectRefused(f"redirected to another host, {url.host}, which shall not be sent the body")
    kept = {name: value for name, value in changed.headers.items() if name in _NEUTRAL - call.own}
    return replace(changed, headers=kept)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


async def _output(call: Call, response: httpx.Response, wanted: Wanted, tools: HttpTools) -> dict[str, Any]:
    status = response.status_code
    if not wanted.expects(status):
        raise await _unexpected(call, response)
    content = mask_values(await read_body(response, wanted.bytes_max), call.secrets.used)
    is_empty = call.method == "HEAD" or status in (204, 304)
    if wanted.response == "artifact":
        kind = response.headers.get("content-type", "")
        artifact = await tools.keep_artifact(content, kind if "/" in kind else CONTENT_TYPE)
        body: Any = artifact.reference
    else:
        body = _body(content, response, wanted.response, is_empty=is_empty)
    return {"status": status, "headers": kept_headers(response, call.secrets), "body": body}


def _body(content: bytes, response: httpx.Response, kind: str, *, is_empty: bool) -> Any:
    content_type = response.headers.get("content-type", "")
    if not content and (is_empty or kind == "auto"):
        return None
    if kind == "json" or (kind == "auto" and is_json(content_type)):
        return as_json(content, response)
    if kind == "text" or is_text(content_type):
        return as_text(content, response)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        text = f"the answer is neither JSON nor text ({content_type[:100]!r}): say response: artifact"
        raise StepError("OUTPUT_INVALID", text) from error


async def _unexpected(call: Call, response: httpx.Response) -> Exception:
    """Return the error of an answer that was not expected; its Retry-After counts."""
    status = response.status_code
    said = await read_refusal(response, call.secrets.used)
    if 400 <= status <= STATUS_MAX:
        return refused(response, said)
    return UnexpectedStatus(f"HTTP {status} is not expected" + (f": {said}" if said else ""))

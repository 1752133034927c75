"""Sending: one request to a provider over HTTP, and its answer, whole or piece by piece.

The key of the worker goes to the address of the worker's settings only. Redirects are not followed. Whatever ends a
call, a cancellation too, closes its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx
import msgspec

from ...sdk.http.client import CONNECT_S, USER_AGENT
from ...sdk.http.reach import AddressRefused
from ...sdk.http.server_events import EVENT_STREAM, EventReader
from ...sdk.secrets.redaction import mask_values
from ...sdk.spending.spent import WORD_MAX
from ...sdk.spending.usage import Usage
from ...sdk.step_error import StepError
from ...sdk.user_errors import FatalError
from ..http.answer import read_body
from ..http.refusal import STATUS_MAX, read_refusal, refused
from ..http.request import check_url
from .answer import ModelAnswer
from .request import ModelRequest, ToolCall
from .wire import TEXT_CHARS_MAX, AnswerStream, Connector, StreamCut, ToldFailure

if TYPE_CHECKING:
    from ...sdk.http.client import Connections
    from ..toolbox import Toolbox

PING = "ping"
"""The name of events that say nothing."""
BYTES_MAX = 16 * 1024 * 1024
STREAM_BYTES_MAX = 128 * 1024 * 1024
"""Of a stream, in which most is not text."""
CLOSE_S = 2.0
ADDRESS_CHARS = 200
GAVE_UP = frozenset({408, 504, 524})
"""Statuses of someone between: the model may be at work on it."""
KEY_NAMES = frozenset({"OPENAI_API_KEY", "ANTHROPIC_API_KEY"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol, AddressRefused)
_encode = msgspec.json.Encoder().encode


class Taking:
    """What a call may have taken while it is under way. ``may_have_taken``: the provider has begun to work on it.

    ``has_begun``: something has come of a stream. ``usage``: of a call that has failed and told it.
    """

    def __init__(self) -> None:
        self.may_have_taken = False
        self.has_begun = False
        self.usage: Usage | None = None

    def end_with(self, failure: ToldFailure) -> None:
        failure.has_said = failure.has_said or self.has_begun
        self.usage = failure.taken
        self.may_have_taken = self.usage is None and not failure.is_refusal


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a request goes, with which key: nothing where none is sent."""

    url: httpx.URL
    key: str
    connections: Connections

    @property
    def secrets(self) -> set[str]:
        return {self.key} if self.key else set()


async def send(
    connector: Connector, request: ModelRequest, tools: Toolbox, taking: Taking, on_partial: Callable[[str], None]
) -> ModelAnswer:
    """Send a request and return its answer. Raises StepError, HttpError, FatalError, StreamCut and httpx's errors."""
    if not request.model:
        raise StepError("CONFIG_INVALID", "the config names no model")
    place = _place(connector, request, tools)
    asked = _asked(connector, request, place)
    taking.may_have_taken = True
    try:
        response = await place.connections.handle_async_request(asked)
    except _NOT_SENT:
        taking.may_have_taken = False
        raise
    try:
        if response.status_code != 200:
            taking.may_have_taken = response.status_code in GAVE_UP or response.is_success
            raise await _refused(response, place)
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() == EVENT_STREAM:
            answer = await _streamed(connector.stream(), request, response, taking, on_partial)
        else:
            answer = await _whole(connector, request, response)
    except ToldFailure as failure:
        taking.end_with(failure)
        raise failure.error from None
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
            await response.aclose()
    return _cleared(answer, place)


def _cleared(answer: ModelAnswer, place: _Place) -> ModelAnswer:
    """Return an answer without the key, and without counts that cannot be; the name of the model is kept in a log."""

    def mask(text: str) -> str:
        return mask_values(text.encode("utf-8", "replace"), place.secrets).decode()

    def mask_all(fields: dict[str, Any]) -> dict[str, Any]:
        content = _encode(fields)
        masked = mask_values(content, place.secrets)
        return fields if masked is content else msgspec.json.decode(masked)

    is_told = answer.is_usage_told and answer.usage.can_be
    return msgspec.structs.replace(
        answer,
        text=mask(answer.text),
        model=mask(answer.model)[:WORD_MAX].replace("\0", "\ufffd"),
        usage=answer.usage if is_told else Usage(),
        is_usage_told=is_told,
        tool_calls=tuple(
            ToolCall(id=mask(call.id), name=mask(call.name), arguments=mask(call.arguments), kept=mask_all(call.kept))
            for call in answer.tool_calls
        ),
        kept=mask_all(answer.kept),
    )


def _place(connector: Connector, request: ModelRequest, tools: Toolbox) -> _Place:
    """Raises StepError where the key is missing, or cannot be sent."""
    own_url = tools.models.url_of(request.provider)
    is_own = not request.base_url or request.base_url.rstrip("/") == own_url.rstrip("/")
    key = ""
    if request.api_key_secret:
        if not is_own and request.api_key_secret in KEY_NAMES:
            text = (
                f"the key {request.api_key_secret} is for the worker's own address: give that of base_url another name"
            )
            raise StepError("CONFIG_INVALID", text)
        key = tools.secrets.read(request.api_key_secret)
    elif is_own:
        key = tools.secrets.find(connector.key_name)
        if not key and tools.models.needs_key(request.provider):
            text = f"this worker has no key of {request.provider!r}: give it the variable {connector.key_name}"
            raise StepError("CONFIG_INVALID", f"{text}, or a secret of that name; the provider echo needs none")
    if not all(32 < ord(character) < 127 for character in key):
        raise StepError("CONFIG_INVALID", "the key of the model's provider holds what no header can")
    try:
        url = httpx.URL(connector.url(own_url if is_own else request.base_url))
    except (httpx.InvalidURL, ValueError) as error:
        raise StepError("CONFIG_INVALID", f"base_url is no URL: {error}") from error
    check_url(url)
    return _Place(url, key, tools.model_connections if is_own else tools.connections)


def _asked(connector: Connector, request: ModelRequest, place: _Place) -> httpx.Request:
    headers = {
        "user-agent": USER_AGENT,
        "accept": EVENT_STREAM if request.stream else "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        **connector.headers(place.key),
    }
    timeout = httpx.Timeout(None, connect=CONNECT_S)  # of the whole call: see calling.py
    content = _encode(connector.body(request))
    extensions = {"timeout": timeout.as_dict()}
    return httpx.Request("POST", place.url, headers=headers, content=content, extensions=extensions)


async def _whole(connector: Connector, request: ModelRequest, response: httpx.Response) -> ModelAnswer:
    content = await read_body(response, BYTES_MAX)
    try:
        return connector.read(request, content)
    except StepError as error:
        kind = response.headers.get("content-type", "nothing")[:100]
        raise StepError(error.type, f"{error} (it came as {kind})") from error


async def _streamed(
    stream: AnswerStream,
    request: ModelRequest,
    response: httpx.Response,
    taking: Taking,
    on_partial: Callable[[str], None],
) -> ModelAnswer:
    """Read to the end. A connection that breaks after the answer is complete has only kept back its usage."""
    reader, chars, taken = EventReader(), 0, 0
    try:
        async for part in cast("Any", response.stream):
            taken += len(part)
            if taken > STREAM_BYTES_MAX:
                raise StepError("PAYLOAD_TOO_LARGE", f"the answer has more than {STREAM_BYTES_MAX:,} bytes")
            for event in reader.feed(part):
                if not event.data.strip():
                    continue
                piece = stream.take(event)
                taking.has_begun = taking.has_begun or event.name != PING
                chars += len(piece)
                if chars > TEXT_CHARS_MAX:
                    raise StepError("PAYLOAD_TOO_LARGE", f"the answer has more than {TEXT_CHARS_MAX:,} characters")
                if piece:
                    on_partial(piece)
    except httpx.TransportError as error:
        if not stream.is_complete:
            raise StreamCut(f"the stream of the answer was cut: {error}") from error
    if not stream.is_complete:
        raise StreamCut("the stream of the answer ended before the answer did")
    return stream.answer(request)


async def _refused(response: httpx.Response, place: _Place) -> Exception:
    """Return the error of a status; its Retry-After counts."""
    said = _message(await read_refusal(response, place.secrets)).strip()
    if 400 <= response.status_code <= STATUS_MAX:
        return refused(response, said)
    if response.has_redirect_location:
        where = mask_values(response.headers["location"].encode("utf-8", "replace"), place.secrets).decode()
        told = f"HTTP {response.status_code}: a redirect to {where[:ADDRESS_CHARS]}, which is not followed"
        return FatalError(f"{told}: name that address itself, if it is the right one")
    return FatalError(f"HTTP {response.status_code}, which is no answer: {said}")


class _Problem(msgspec.Struct):
    message: str
    type: str | None = None


class _Refusal(msgspec.Struct):
    error: _Problem | str


_FORMATS: tuple[type[_Refusal | tuple[_Refusal, ...] | _Problem], ...] = (_Refusal, tuple[_Refusal, ...], _Problem)
"""As OpenAI, Anthropic and Ollama say it; as Gemini does; as Mistral and vLLM do."""


def _message(text: str) -> str:
    """What a provider says about an error, in one line where it says so in a known format."""
    for kind in _FORMATS:
        with suppress(msgspec.MsgspecError, RecursionError, IndexError):
            return _line(msgspec.json.decode(text, type=kind))
    return text


def _line(found: _Refusal | tuple[_Refusal, ...] | _Problem) -> str:
    refusal = found[0] if isinstance(found, tuple) else found
    problem = refusal.error if isinstance(refusal, _Refusal) else refusal
    if isinstance(problem, str):
        return problem
    return f"{problem.type}: {problem.message}" if problem.type else problem.message

"""Connection: one API of Courante, asked over HTTP.

What is read may be asked for twice: where an API that has answered before is away for a while, reading goes on when it
is back. What changes something is asked for once, unless asked twice it is done once. No redirect is followed, and the
key goes to the API alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec

from ...sdk.http.server_events import EVENT_STREAM, EventReader, ServerEvent
from ...sdk.json_values import encode_value
from ...sdk.secrets.redaction import REDACTOR
from ...sdk.step_error import StepError
from ..exits import CliError, ExitCode
from .paths import at
from .refusals import away, no_api, other_version, refusal

if TYPE_CHECKING:
    from ...sdk.settings import Settings

T = TypeVar("T")
Query = Mapping[str, object]
Headers = Mapping[str, str]

CONNECT_S = 10.0
ANSWER_S = 90.0
"""Longer than the server waits for the end of a run."""
LONG_ANSWER_S = 3_600.0
"""For what is worked out of whole logs."""
PATIENCE_S = 30.0
"""How long an API that has answered before may be away."""
PAUSE_S, PAUSE_S_MAX = 0.2, 2.0
KEY_BYTES_MAX = 4_096
NO_QUERY: Query = {}
NO_HEADERS: Headers = {}
JSON: dict[str, str] = {"Content-Type": "application/json"}
MAY_COME_BACK = (429, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """``may_repeat``: it changes nothing, or once however often it is sent. ``answer_s``: how long it may be silent."""

    method: str
    path: str
    query: Query | None = None
    content: bytes | None = None
    headers: Headers | None = None
    is_stream: bool = False
    may_repeat: bool = False
    answer_s: float = ANSWER_S


class Connection:
    """``note``: tells people that it takes longer."""

    def __init__(self, http: httpx.AsyncClient, url: str, *, has_key: bool, note: Callable[[str], None]) -> None:
        self._http = http
        self._has_key = has_key
        self._note = note
        self._has_answered = False
        self.url = url

    async def get(self, path: str, kind: type[T], query: Query = NO_QUERY, *, answer_s: float = ANSWER_S) -> T:
        """Return what is there. path: see ``paths``. Raises CliError."""
        question = _Question(method="GET", path=path, query=query, may_repeat=True, answer_s=answer_s)
        return self._decode(await self._send(question), kind)

    async def post(
        self,
        path: str,
        body: object,
        kind: type[T],
        *,
        headers: Headers = NO_HEADERS,
        may_repeat: bool = False,
        answer_s: float = ANSWER_S,
    ) -> T:
        """Ask for something. body: what becomes JSON, or bytes of the type that a header says. Raises CliError.

        may_repeat: asked twice it is done once, or it changes nothing.
        """
        question = _Question(
            method="POST",
            path=path,
            content=_content(body),
            headers={**JSON, **headers},
            may_repeat=may_repeat,
            answer_s=answer_s,
        )
        return self._decode(await self._send(question), kind)

    async def served_env(self) -> str:
        """Return the environment that it serves. Raises CliError."""
        return (await self.get(at("session"), _Served)).env

    async def put(self, path: str, body: object, kind: type[T]) -> T:
        """Raises CliError."""
        question = _Question(method="PUT", path=path, content=_content(body), headers=JSON)
        return self._decode(await self._send(question), kind)

    async def delete(self, path: str, kind: type[T], query: Query = NO_QUERY) -> T:
        """Raises CliError."""
        return self._decode(await self._send(_Question(method="DELETE", path=path, query=query)), kind)

    async def content(self, path: str, query: Query = NO_QUERY) -> bytes:
        """Return what is there and no JSON. Raises CliError."""
        return (await self._send(_Question(method="GET", path=path, query=query, may_repeat=True))).content

    @asynccontextmanager
    async def reading(
        self, path: str, query: Query = NO_QUERY, *, body: object = None
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Content that is no JSON, a part after the other. body: asks for it where a query would be too long.

        Raises CliError.
        """
        question = (
            _Question(method="GET", path=path, query=query, is_stream=True, may_repeat=True)
            if body is None
            else _Question(
                method="POST", path=path, content=_content(body), headers=JSON, is_stream=True, may_repeat=True
            )
        )
        answer = await self._send(question)
        try:
            yield self._parts(answer)
        finally:
            await _close(answer)

    async def events(self, path: str, query: Query = NO_QUERY, *, after: str = "") -> AsyncGenerator[ServerEvent]:
        """Yield what a stream tells until it ends for good; after a break from where it was. Raises CliError.

        after: id of the last event that is known. A stream ends with 204.
        """
        while True:
            headers = {"Accept": EVENT_STREAM} | ({"Last-Event-ID": after} if after else {})
            question = _Question(method="GET", path=path, query=query, headers=headers, is_stream=True, may_repeat=True)
            answer = await self._send(question)
            try:
                if answer.status_code == HTTPStatus.NO_CONTENT:
                    return
                if not answer.headers.get("content-type", "").startswith(EVENT_STREAM):
                    raise other_version(self.url, f"it tells nothing as it comes at {path}")
                reader = EventReader()
                async for part in answer.aiter_bytes():
                    for event in reader.feed(part):
                        after = event.id or after
                        yield event
            except httpx.TransportError:
                pass  # where it has gone for good, the next attempt says so
            except StepError as error:
                raise CliError(ExitCode.SERVICE, "api_unusable", f"{self.url}: {error}") from error
            finally:
                await _close(answer)
            await anyio.sleep(PAUSE_S)

    async def _send(self, question: _Question) -> httpx.Response:
        """Return a good answer. Raises CliError."""
        pause_s, ends_at = PAUSE_S, anyio.current_time() + PATIENCE_S
        has_noted = False
        while True:
            request = self._http.build_request(
                question.method,
                f"{self.url}{question.path}",
                params=_params(question.query or NO_QUERY),
                content=question.content,
                headers=dict(question.headers or NO_HEADERS),
                timeout=httpx.Timeout(question.answer_s, connect=CONNECT_S),
            )
            try:
                answer = await self._http.send(request, stream=question.is_stream)
            except httpx.TransportError as error:
                failure, is_unasked = (
                    away(self.url, error),
                    isinstance(error, httpx.ConnectError | httpx.ConnectTimeout),
                )
                failure.__cause__ = error
            else:
                if answer.is_success:
                    self._has_answered = True
                    return answer
                await answer.aread()
                await _close(answer)
                failure = refusal(answer, self.url, has_key=self._has_key)
                is_unasked = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
                if answer.status_code not in MAY_COME_BACK:
                    raise failure
                pause_s = max(pause_s, _retry_after_s(answer))
            is_there = self._has_answered or failure.code == "rate_limited"
            is_cut_off = question.method != "GET" and not is_unasked  # it may have been done: another answer is wanted
            may_repeat = is_unasked or question.may_repeat
            if not (may_repeat and (is_there or is_cut_off)) or anyio.current_time() + pause_s > ends_at:
                raise failure
            if not has_noted:
                self._note(f"{failure.message}; asking again")
                has_noted = True
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _parts(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for part in answer.aiter_bytes():
                yield part
        except httpx.TransportError as error:
            raise away(self.url, error) from error

    def _decode(self, answer: httpx.Response, kind: type[T]) -> T:
        if not answer.headers.get("content-type", "").startswith("application/json"):
            raise no_api(self.url, f"{answer.status_code} {answer.reason_phrase}".strip(), answer)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise other_version(self.url, f"its answer to {answer.request.url.path} cannot be read: {error}") from error


@asynccontextmanager
async def open_connection(
    settings: Settings, *, env: str | None = None, note: Callable[[str], None] = lambda _: None
) -> AsyncGenerator[Connection]:
    """Connect with the API of the settings. env: the environment that it must serve; None: any. Raises CliError."""
    assert settings.api_url is not None
    url, key = settings.api_url.rstrip("/"), read_key(settings)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    is_own = _is_loopback(url)  # no proxy is asked for this machine
    if key and not is_own and urlsplit(url).scheme != "https" and not settings.api_key_in_clear:
        message = f"the key of the API would travel in clear to another machine: {url}"
        hint = "use https://; in a network that nobody else reads, set COURANTE_API_KEY_IN_CLEAR=true"
        raise CliError(ExitCode.USAGE, "key_in_clear", message, hint)
    async with httpx.AsyncClient(headers=headers, trust_env=not is_own) as http:
        connection = Connection(http, url, has_key=bool(key), note=note)
        if env is not None:
            await _check_env(connection, env)
        yield connection


def read_key(settings: Settings) -> str:
    """Return the key of the settings; nothing where there is none. Raises CliError."""
    key = settings.api_key or ""
    if not key and settings.api_key_file is not None:
        try:
            with Path(settings.api_key_file).open(encoding="utf-8") as file:
                key = file.read(KEY_BYTES_MAX).strip()
        except (OSError, UnicodeDecodeError) as cause:
            reason = cause.strerror if isinstance(cause, OSError) else "it is no text"
            message = f"the key of the API cannot be read from {settings.api_key_file}: {reason}"
            raise CliError(ExitCode.USAGE, "bad_setting", message, "COURANTE_API_KEY_FILE names it") from cause
        if not key:
            message = f"the file {settings.api_key_file} holds no key"
            raise CliError(ExitCode.USAGE, "bad_setting", message, "COURANTE_API_KEY_FILE names it")
    if key and not all("!" <= char <= "~" for char in key):
        hint = "it is one word, as 'courante keys create' has shown it"
        raise CliError(ExitCode.USAGE, "bad_setting", "what is given as the key of the API is no key", hint)
    if key:
        REDACTOR.register(key)
    return key


class _Served(msgspec.Struct):
    """What is needed of a session."""

    env: str


async def _check_env(connection: Connection, env: str) -> None:
    found = await connection.served_env()
    if found != env:
        message = f"the API at {connection.url} serves the environment {found!r}, not {env!r}"
        raise CliError(ExitCode.USAGE, "other_env", message, "leave the environment out, or ask the API that serves it")


def _content(body: object) -> bytes:
    """body: what becomes JSON, or bytes as they are."""
    return body if isinstance(body, bytes) else encode_value(msgspec.to_builtins(body))


def _params(query: Query) -> httpx.QueryParams:
    """As HTTP has them: a list is the same name again, and what is None is left out."""
    given = {
        name: cast("Sequence[object]", value) if isinstance(value, list | tuple) else [value]
        for name, value in query.items()
    }
    return httpx.QueryParams(
        [
            (name, str(one).lower() if isinstance(one, bool) else str(one))
            for name, values in given.items()
            for one in values
            if one is not None
        ]
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after_s(answer: httpx.Response) -> float:
    said: str = answer.headers.get("retry-after", "")
    return float(said) if said.isdecimal() and len(said) < 6 else 0.0


async def _close(answer: httpx.Response) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(2):
        await answer.aclose()

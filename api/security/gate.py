"""The gate: an ASGI application around the API that lets in what may come in.

In this order: the name it is called by, who asks, where a browser's page comes from, how often he asks, how large the
body is. Then the application answers, with the principal in ``scope["state"]``. Whatever goes wrong is told as a
problem without a trace, every answer gets the headers that keep browsers from mischief, and unsafe requests are
written to the operator log.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from secrets import token_hex
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from ...sdk.access.scopes import Principal, Scope, anonymous
from ...sdk.access.secret_text import without_secrets
from ...sdk.client.access import Access
from ...sdk.client.operators import Operators
from ...sdk.stores.operator_log import Operation
from ..problems import answer_error
from .authentication import Authentication, too_many
from .bodies import check_length, has_body, whole_body
from .buckets import Buckets, neighbourhood
from .forgery import SAFE_METHODS, check_host, check_origin, check_token
from .headers import guarded_headers
from .journal import Journal
from .terms import Terms

LOGIN_PATH = "/v1/login"
HTTP_OK_MAX = 399
ADDRESS_CHARS_MAX = 100
STREAM = b"text/event-stream"
STREAM_WAIT_S = 5.0
SECRET_HEADERS = (b"authorization", b"cookie")
"""The application has no use for them, and what it does not have it cannot log."""
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Send = Callable[[Any], Awaitable[None]]
Note = Callable[[str, str, int, float], None]
log = structlog.get_logger()


class Ended(Exception):
    """The key of a long answer is in force no more."""


class Gate:
    """For one environment; ``terms.is_open``: where no key is needed."""

    def __init__(
        self,
        app: Asgi,
        access: Access,
        operators: Operators,
        env: str,
        terms: Terms,
        note: Note | None = None,
    ) -> None:
        """note: is told of each answer that begins: method, route, status, and after how many seconds."""
        self._app = app
        self._note = note
        self._env = env
        self._terms = terms
        self._authentication = Authentication(access, env, terms)
        self._requests = Buckets(2 * terms.requests_per_s, terms.requests_per_s)
        self._strangers = Buckets(2 * terms.stranger_requests_per_s, terms.stranger_requests_per_s)
        self._journal = Journal(operators)
        self._listening: Counter[str] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        passage = _Passage(scope, send, self._journal, self._note, self._take_stream)
        with bound_contextvars(request_id=passage.request_id):
            await self._let_through(passage, scope, receive, send)

    async def _let_through(self, passage: _Passage, scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await self._pass(passage, scope, receive)
        except Ended:
            log.info("stream_ended")
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception as error:
            if passage.has_started:  # uvicorn closes the connection: half an answer is seen to be one
                log.error("answer_broken_off", exc_info=error)
                return
            await answer_error(error)(scope, receive, passage.send)
        finally:
            passage.leave()

    async def _pass(self, passage: _Passage, scope: dict[str, Any], receive: Any) -> None:
        terms = self._terms
        state = scope.setdefault("state", {})
        state |= {"principal": None, "authentication": self._authentication}
        check_host(scope, terms.hosts)
        credential = self._authentication.read(scope)
        if credential is None or credential.is_session:
            check_origin(scope)
        principal: Principal | None = None
        if credential is not None:
            principal = await self._authentication.find(credential, passage.address)
        if principal is not None and credential is not None:
            wait_s = self._requests.take(principal.key_id or "")
            if wait_s:
                raise too_many(f"{principal.name} asks too often", wait_s)
            passage.principal = principal
            passage.check = lambda: self._authentication.is_in_force(credential)
            if credential.is_session:
                state["credential"] = credential
                if scope["path"] != LOGIN_PATH:
                    check_token(scope, credential.text)
        elif terms.is_open:
            principal = anonymous(self._env)
        else:
            wait_s = self._strangers.take(neighbourhood(passage.address))
            if wait_s:
                raise too_many("this address asks too often without a key", wait_s)
        passage.principal = state["principal"] = principal
        bytes_max = terms.stranger_bytes_max if principal is None else terms.body_bytes_max
        check_length(scope, bytes_max)
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in SECRET_HEADERS]
        if has_body(scope):
            receive = whole_body(receive, terms, bytes_max)
        await self._app(scope, receive, passage.send)

    def _take_stream(self, principal: Principal) -> Callable[[], None]:
        """Let a key listen once more; return what ends that. Raises Refused."""
        name = principal.key_id or ""
        if name and self._listening[name] >= self._terms.streams_max:
            raise too_many(f"{principal.name} listens {self._listening[name]:,} times already", STREAM_WAIT_S)
        self._listening[name] += 1

        def leave() -> None:
            self._listening[name] -= 1
            if not self._listening[name]:
                del self._listening[name]

        return leave


class _Passage:
    """One request on its way through the gate. take_stream: asked before an answer begins that may never end."""

    def __init__(
        self,
        scope: dict[str, Any],
        send: Send,
        journal: Journal,
        tell: Note | None,
        take_stream: Callable[[Principal], Callable[[], None]],
    ) -> None:
        self._scope = scope
        self._tell = tell
        self._begun_at = time.monotonic()
        self._send = send
        self._journal = journal
        self._take_stream = take_stream
        self.leave: Callable[[], None] = lambda: None
        self._checked_at = time.monotonic()
        self.request_id = token_hex(8)
        self.principal: Principal | None = None
        self.check: Callable[[], Awaitable[bool]] | None = None
        self.has_started = False

    @property
    def address(self) -> str:
        """As the server or a proxy that is believed says it, which may have it from anybody."""
        client = self._scope.get("client")
        return _shown(str(client[0]))[:ADDRESS_CHARS_MAX] if client else ""

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send on, with our headers; a long answer ends with the key that it is given to. Raises Ended, Refused."""
        if message["type"] == "http.response.start":
            if self.principal is not None and _is_stream(message):
                self.leave = self._take_stream(self.principal)
            self.has_started = True
            await self._note(message["status"])
            took_s = time.monotonic() - self._begun_at
            if self._tell is not None:
                route = self._scope.get("state", {}).get("route", "")
                self._tell(self._scope["method"], route, message["status"], took_s)
            self._log(message["status"], took_s)
            is_tls = self._scope.get("scheme") == "https"
            headers = guarded_headers(message.get("headers", ()), is_tls=is_tls, request_id=self.request_id)
            message = {**message, "headers": headers}
        elif self.check is not None and message.get("more_body") and time.monotonic() - self._checked_at > CHECK_S:
            if not await self.check():
                raise Ended
            self._checked_at = time.monotonic()
        await self._send(message)

    def _log(self, status: int, took_s: float) -> None:
        """A line for each request, where somebody wants them: level debug. What was asked for stands in no line."""
        if not log.is_enabled_for(logging.DEBUG):
            return
        path = _shown(without_secrets(self._scope["path"]))
        by = self.principal.name if self.principal else ""
        words = {"method": self._scope["method"], "path": path, "status": status, "by": by, "address": self.address}
        log.debug("request_answered", **words, duration_ms=round(1000 * took_s, 3))

    async def _note(self, status: int) -> None:
        """Submissions that were accepted stand among the commands, with who asked; what strangers try stands nowhere.

        But for logins: how many of those an address may try is bounded.
        """
        scope = self._scope
        path: str = scope["path"]
        is_login = path == LOGIN_PATH
        if scope["method"] in SAFE_METHODS or (self.principal is None and not (is_login and status in (200, 401))):
            return
        if status <= HTTP_OK_MAX and scope["state"].get("needed") is Scope.SUBMIT:
            return
        principal = scope["state"]["principal"] or self.principal
        dry = " (dry run)" if scope["state"].get("is_dry") else ""
        await self._journal.note(
            Operation(
                by=principal.name if principal else "",
                key_id=principal.key_id if principal else None,
                action=f"{scope['method']} {_shown(without_secrets(path))}{dry}",
                result=str(status),
                address=self.address,
            )
        )


def _is_stream(message: MutableMapping[str, Any]) -> bool:
    return any(name == b"content-type" and value.startswith(STREAM) for name, value in message.get("headers", ()))


def _shown(text: str) -> str:
    """Without what steers a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


CHECK_S = 5.0
"""How often the key of a long answer is looked at."""

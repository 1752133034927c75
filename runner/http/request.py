"""From the config of a node of type ``http`` to a request. Pure but for the secrets that its templates name.

Values never change the shape of what they stand in: in a URL they are percent-encoded, in a header they hold no line
break, in a query, a form or JSON they are written as such.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import httpx
import msgspec

from ...compiler.analysis.sites import BEFORE, ITEM, SECRETS
from ...compiler.cel import SECRET_ROOT, EvaluationError
from ...compiler.durations import parse_duration
from ...compiler.http_config import METHODS, RESERVED_HEADERS
from ...compiler.reading import kind_of
from ...compiler.templates import Template, compile_template
from ...sdk.http.client import CONNECT_S, READ_S, USER_AGENT
from ...sdk.outcomes.step_config import render_template
from ...sdk.outcomes.step_context import StepContext, StepError, decode_json
from ...sdk.secrets.secrets import NamedSecrets

ROOTS = BEFORE | ITEM | SECRETS
URL_CHARS_MAX = 8_192
KEY_CHARS_MAX = 255
IDEMPOTENCY_HEADER = "Idempotency-Key"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
Scalar: TypeAlias = str | int | float | bool | None
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, and what is expected of it. ``own``: names of headers that the document says, in lower case."""

    method: str
    url: httpx.URL
    headers: dict[str, bytes]
    own: frozenset[str]
    content: bytes | None
    timeout: httpx.Timeout
    secrets: NamedSecrets

    def request(self) -> httpx.Request:
        extensions = {"timeout": self.timeout.as_dict()}
        headers = [(name.encode(), value) for name, value in self.headers.items()]
        return httpx.Request(self.method, self.url, headers=headers, content=self.content, extensions=extensions)


def make_call(step: StepContext, key: str, secrets: NamedSecrets) -> Call:
    """Return what is to be sent. key: of idempotency. Raises StepError."""
    step.context()[SECRET_ROOT] = secrets
    config = render_template(step)
    written = step.node.config.get("url")
    text = decode_json(step.input_bytes()) if written is None else fill_url(str(written), step.context(), ROOTS)
    if not isinstance(text, str):
        raise StepError("INPUT_INVALID", "without 'url' in its config the input of an http node is the URL, a string")
    return call_of(config, text, key, secrets)


def call_of(config: Mapping[str, Any], url_text: str, key: str, secrets: NamedSecrets) -> Call:
    """Return what is to be sent. config: with its templates expanded. Raises StepError."""
    method = str(config.get("method", "GET")).upper()
    if method not in METHODS:
        raise StepError("CONFIG_INVALID", f"{method[:40]!r} is no method")
    url = _url(url_text, config)
    content, content_type = _body(config)
    headers = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "gzip, deflate"}
    if content_type:
        headers["content-type"] = content_type
    name = config.get("idempotency_key", method not in SAFE_METHODS)
    if name:
        headers[(name if isinstance(name, str) else IDEMPOTENCY_HEADER).lower()] = _short(key)
    own = {name.lower(): _text(value, f"the header {name}") for name, value in config.get("headers", {}).items()}
    headers |= {name: value for name, value in own.items() if value is not None}
    if "auth" in config:
        headers["authorization"] = _basic(config["auth"], secrets)
        own["authorization"] = ""
    return Call(
        method=method,
        url=url,
        headers={name: _header(name, value) for name, value in headers.items()},
        own=frozenset(own),
        content=content,
        timeout=httpx.Timeout(
            _seconds(config, "read_timeout", READ_S), connect=_seconds(config, "connect_timeout", CONNECT_S)
        ),
        secrets=secrets,
    )


def _url(text: str, config: Mapping[str, Any]) -> httpx.URL:
    if len(text) > URL_CHARS_MAX:
        raise StepError("INPUT_INVALID", f"the URL is longer than {URL_CHARS_MAX:,} characters")
    try:
        url = httpx.URL(text)
        pairs = _pairs(config.get("query", {}), "the query")
        if pairs:
            url = url.copy_merge_params(httpx.QueryParams(pairs))
    except (httpx.InvalidURL, ValueError) as error:
        raise StepError("INPUT_INVALID", f"this is no URL: {error}") from error
    check_url(url)
    return url


def check_url(url: httpx.URL) -> None:
    """Raise StepError unless it is one of http or https that names a host and nobody's password."""
    if url.scheme not in ("http", "https") or not url.host:
        raise StepError("INPUT_INVALID", f"a URL begins with http:// or https:// and names a host, not {url.scheme!r}")
    if url.userinfo:
        raise StepError("INPUT_INVALID", "the URL holds a password: write auth: {user, password}")


@lru_cache(maxsize=1_000)
def _template(text: str, roots: frozenset[str]) -> Template:
    return compile_template(text, roots=roots)


def fill_url(url: str, context: Mapping[str, object], roots: frozenset[str]) -> str:
    """Expand a URL: values are percent-encoded, but for one at its very beginning, which may be a whole URL.

    roots: what its expressions may read. Raises StepError.
    """
    pieces: list[str] = []
    for part in _template(url, roots).parts:
        if isinstance(part, str):
            pieces.append(part)
            continue
        try:
            value = part.evaluate(context)
        except EvaluationError as error:
            raise StepError("EXPRESSION_ERROR", str(error)) from error
        text = _text(value, "the URL")
        if text in (None, "", ".", "..") and pieces:
            raise StepError("INPUT_INVALID", f"{text!r} is no part of a URL (in {part.source!r})")
        pieces.append(quote(text or "", safe="") if pieces else text or "")
    return "".join(pieces)


def _text(value: object, what: str) -> str | None:
    """A value as text; None for null. Raises StepError for lists and objects."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return _encode(value).decode()
    raise StepError("INPUT_INVALID", f"{what} takes texts, numbers, true, false and null, not {kind_of(value)}")


def _pairs(fields: object, what: str) -> list[tuple[str, Scalar]]:
    """The fields of a query or a form; null is left out, a list is its field several times."""
    if not isinstance(fields, dict):
        raise StepError("INPUT_INVALID", f"{what} is an object, not {kind_of(fields)}")
    pairs: list[tuple[str, Scalar]] = []
    for name, value in cast("dict[str, object]", fields).items():
        for each in cast("list[object]", value) if isinstance(value, list) else [value]:
            text = _text(each, f"{name!r} of {what}")
            pairs += [] if text is None else [(name, text)]
    return pairs


def _body(config: Mapping[str, Any]) -> tuple[bytes | None, str]:
    """Return the body and its content type."""
    if "json" in config:
        return _encode(config["json"]), "application/json"
    if "form" in config:
        content = str(httpx.QueryParams(_pairs(config["form"], "the form"))).encode()
        return content, "application/x-www-form-urlencoded"
    if "text" in config:
        text = config["text"]
        content = text.encode() if isinstance(text, str) else _encode(text)
        return content, "text/plain; charset=utf-8"
    if "bytes" in config:
        try:
            return base64.b64decode(str(config["bytes"]), validate=True), "application/octet-stream"
        except (binascii.Error, ValueError) as error:
            raise StepError("INPUT_INVALID", f"'bytes' is base64: {error}") from error
    return None, ""


def _header(name: str, value: str) -> bytes:
    if name in RESERVED_HEADERS or any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise StepError("INPUT_INVALID", f"the header {name!r} can not have this value")
    return value.strip().encode()


def _basic(auth: Mapping[str, Any], secrets: NamedSecrets) -> str:
    pair = f"{auth.get('user', '')}:{auth.get('password', '')}"
    encoded = base64.b64encode(pair.encode()).decode()
    secrets.used.add(encoded)
    return f"Basic {encoded}"


def _seconds(config: Mapping[str, Any], name: str, default_s: float) -> float:
    ms = parse_duration(config[name]) if name in config else None
    return default_s if ms is None else ms / 1000


def _short(key: str) -> str:
    """Many services take at most 255 characters."""
    return key if len(key) <= KEY_CHARS_MAX else hashlib.blake2b(key.encode(), digest_size=16).hexdigest()

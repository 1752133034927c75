"""The config of nodes of type ``http``: one reader per field.

What holds a template is only checked to be a text: what it gives is judged when the node runs (docs/reference/http.md).
"""

from __future__ import annotations

import re
from typing import Any, cast

from .diagnostics import Path
from .durations import format_duration
from .findings import Findings, quote
from .reading import (
    read_boolean,
    read_choice,
    read_duration,
    read_fields,
    read_integer,
    read_object,
    read_text,
    wrong_type,
)
from .workflow import Json

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BODIES = ("json", "form", "text", "bytes")
RESPONSES = ("auto", "json", "text", "artifact")
REDIRECTS_MAX = 20
BYTES_MAX = 512 * 1024 * 1024
HEADER_PATTERN = r"^[!#$%&'*+.^_`|~A-Za-z0-9-]{1,128}$"
STATUS_PATTERN = r"^[1-5]([0-9]{2}|xx)$"
RESERVED_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})
"""Written by the client itself: another value would make one request look like two."""


def is_template(value: Json) -> bool:
    return isinstance(value, str) and "{{" in value


def read_http(config: dict[str, Json], path: Path, findings: Findings) -> dict[str, Any]:
    """Read a config. Without ``url`` the node's input is it."""
    made = read_fields(config, path, findings, _READERS)
    bodies = [name for name in BODIES if name in made]
    for name in bodies[1:]:
        message = f"{bodies[0]!r} and {name!r} exclude each other"
        findings.error("conflicting_fields", message, (*path, name), "a request has one body")
    return made


def _method(value: Json, path: Path, findings: Findings) -> str:
    if is_template(value):
        return read_text(value, path, findings)
    word = value.upper() if isinstance(value, str) else value
    return read_choice(word, path, findings, METHODS, "GET")


def _url(value: Json, path: Path, findings: Findings) -> str:
    text = read_text(value, path, findings)
    head = text.partition("{{")[0]
    if isinstance(value, str) and not text.strip():
        findings.error("missing_field", "url is empty", path, "leave it out to take the node's input for it")
    elif head and not re.match(r"(?i)https?(://|:?/?$)|ht?t?$", head):
        hint = "a URL begins with https:// or http://"
        findings.error("bad_url", f"url can not be {quote(text)}", path, hint)
    return text


def _headers(value: Json, path: Path, findings: Findings) -> dict[str, Json]:
    fields = read_object(value, path, findings)
    for name, below in fields.items():
        _check_header(name, (*path, name), findings)
        _check_scalar(below, (*path, name), findings)
    return fields


def _check_header(name: str, path: Path, findings: Findings) -> None:
    if not re.fullmatch(HEADER_PATTERN.removesuffix("$"), name):
        findings.error("bad_name", f"{quote(name)} is no name of a header", path)
    elif name.lower() in RESERVED_HEADERS:
        findings.error("bad_name", f"the header {quote(name)} is the client's own", path, "leave it out")


def _check_scalar(value: Json, path: Path, findings: Findings) -> None:
    if isinstance(value, dict | list):
        wrong_type(findings, path, "a text, a number, true, false or null", cast("Json", value))


def _fields(value: Json, path: Path, findings: Findings) -> Json:
    """Of a query or a form: scalars, or lists of them. All of them may be one template."""
    if is_template(value):
        return value
    fields = read_object(value, path, findings)
    for name, below in fields.items():
        for index, each in enumerate(cast("list[Json]", below) if isinstance(below, list) else []):
            _check_scalar(each, (*path, name, index), findings)
        if isinstance(below, dict):
            wrong_type(
                findings, (*path, name), "a text, a number, true, false, null or a list of them", cast("Json", below)
            )
    return fields


def _anything(value: Json, _path: Path, _findings: Findings) -> Json:
    return value


def _expect(value: Json, path: Path, findings: Findings) -> list[str]:
    """Statuses, ``200`` or ``2xx``; one is a list of one."""
    written: list[Json] = cast("list[Json]", value) if isinstance(value, list) else [value]
    words: list[str] = []
    for index, each in enumerate(written):
        word = str(each).lower() if isinstance(each, str | int) and not isinstance(each, bool) else ""
        if re.fullmatch(STATUS_PATTERN.removesuffix("$"), word):
            words.append(word)
        else:
            place = (*path, index) if isinstance(value, list) else path
            findings.error("unknown_value", f"{quote(each)} is no HTTP status", place, "write 200, or 2xx")
    if not written:
        findings.error("missing_field", "expect names no status", path, "leave it out for 2xx")
    return words


def _response(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, RESPONSES, "auto")


def _max_bytes(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=0, high=BYTES_MAX)


def _redirects(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=0, high=REDIRECTS_MAX)


def _time(value: Json, path: Path, findings: Findings) -> str:
    return format_duration(read_duration(value, path, findings, low_ms=1))


def _idempotency(value: Json, path: Path, findings: Findings) -> Json:
    """Whether the key is sent, or in which header."""
    if not isinstance(value, str):
        return read_boolean(value, path, findings)
    _check_header(value, path, findings)
    return value


def _auth(value: Json, path: Path, findings: Findings) -> dict[str, str]:
    return read_fields(value, path, findings, {"user": read_text, "password": read_text}, ("user", "password"))


_READERS = {
    "method": _method,
    "url": _url,
    "headers": _headers,
    "query": _fields,
    "auth": _auth,
    "json": _anything,
    "form": _fields,
    "text": read_text,
    "bytes": read_text,
    "expect": _expect,
    "response": _response,
    "max_bytes": _max_bytes,
    "redirects": _redirects,
    "connect_timeout": _time,
    "read_timeout": _time,
    "idempotency_key": _idempotency,
}
HTTP_FIELDS = tuple(_READERS)

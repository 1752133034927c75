"""Forgery: requests that a browser sends for a page of somebody else's.

A browser adds cookies by itself, and reaches addresses of its own machine, so whoever has no key in the header must
show that his page came from here: by the name he calls, by where he says he comes from, and by a token that only our
page can know. CORS is not offered.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from ...sdk.access.secret_text import csrf_token, is_same
from ..problems import Refused
from .headers import all_of, one_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = b"x-csrf-token"
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_-](?:[a-z0-9._-]{0,251}[a-z0-9])?)(?::[0-9]{1,5})?")


def check_host(scope: dict[str, Any], hosts: frozenset[str] | None) -> None:
    """Raises Refused where the request is addressed to nobody, or to a name that is not ours."""
    given = one_of(scope, b"host")
    found = None if given is None else _HOST.fullmatch(given.lower())
    if found is None:
        raise Refused("host_invalid", "the request needs one header Host, with a name or address")
    if hosts is not None and found[1] not in hosts:
        hint = "call it by another name, or let the setting api_hosts name this one"
        raise Refused("host_not_served", f"nothing is served under the name {found[1]}", hint=hint)


def check_origin(scope: dict[str, Any]) -> None:
    """Raises Refused for a request that a page from elsewhere has sent, but for a link that leads here."""
    sites = all_of(scope, b"sec-fetch-site")
    origins = all_of(scope, b"origin")
    host = one_of(scope, b"host") or ""
    is_ours = all(site in ("same-origin", "none") for site in sites)
    if not is_ours or any(_place(origin) != host.lower() for origin in origins):
        if scope["method"] in SAFE_METHODS and one_of(scope, b"sec-fetch-mode") == "navigate":
            return
        hint = "a program sends its key in the header Authorization, and no Origin"
        raise Refused("origin_refused", "the request comes from a page that is not served from here", hint=hint)


def check_token(scope: dict[str, Any], session_token: str) -> None:
    """Raises Refused for an unsafe request of a session without its token."""
    if scope["method"] in SAFE_METHODS:
        return
    given = one_of(scope, CSRF_HEADER) or ""
    if not is_same(given.encode("latin-1"), csrf_token(session_token).encode()):
        hint = "send what POST /v1/login and GET /v1/session give as 'csrf' in the header X-CSRF-Token"
        raise Refused("csrf_refused", "a session needs its token for this", hint=hint)


def _place(origin: str) -> str:
    """Host and port of an origin; something that no host is for what is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "-"
    return parts.netloc.lower() if parts.scheme in ("http", "https") and parts.netloc else "-"

"""Headers: reading those of a request strictly, and those that every answer bears.

An answer that says nothing else may be shown by no page, run nothing, load nothing, and is kept by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]

STRICT_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""For a page of ours, which sets it itself: nothing inline, nothing from elsewhere."""
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_OURS = frozenset(name for name, _ in _ALWAYS) | {b"server"}
_UNLESS_SAID = (
    (b"content-security-policy", STRICT_POLICY.encode()),
    (b"cache-control", b"no-store"),
)
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")


def guarded_headers(
    given: Iterable[tuple[bytes, bytes]], *, is_tls: bool, request_id: str
) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with ours."""
    kept = [(name, value) for name, value in ((name.lower(), value) for name, value in given) if name not in _OURS]
    said = {name for name, _ in kept}
    kept += _ALWAYS
    kept += [pair for pair in _UNLESS_SAID if pair[0] not in said]
    kept.append((b"x-request-id", request_id.encode()))
    if is_tls:
        kept.append(_TLS_ONLY)
    return kept


def all_of(scope: dict[str, Any], name: bytes) -> list[str]:
    """Return every value of a header of the request, as latin-1."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def one_of(scope: dict[str, Any], name: bytes) -> str | None:
    """Return the value of a header that stands there once; None where it does not, or stands there more often."""
    found = all_of(scope, name)
    return found[0] if len(found) == 1 else None


def cookie_of(scope: dict[str, Any], name: str) -> str | None:
    """Return the cookie of this name; None where there is none, or there are several: one of them is not ours."""
    pairs = [pair.strip() for line in all_of(scope, b"cookie") for pair in line.split(";")]
    found = [pair.partition("=")[2] for pair in pairs if pair.partition("=")[0] == name]
    return found[0] if len(found) == 1 else None

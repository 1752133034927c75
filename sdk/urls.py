"""URLs of servers: checked before they are used, and shown without their passwords. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_PASSWORD = re.compile(r"(://[^:@/?#]*):.*@")  # up to the last @: a password may hold one unquoted
_QUERY_PASSWORD = re.compile(r"([?&](?:ssl)?password=)[^&#]*")


def mask_password(url: str) -> str:
    """The URL with ``***`` for every password in it; of what is not a URL, nothing."""
    if "://" not in url:
        return "***"
    return _QUERY_PASSWORD.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def url_fault(url: str, schemes: tuple[str, ...], *, is_alone: bool = False) -> tuple[str, str]:
    """Return what is wrong with it, and a hint; nothing where all is well. is_alone: without user, query, fragment."""
    shown = mask_password(url)
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes:
        starts = ", ".join(f"{scheme}://" for scheme in schemes)
        return f"expected a URL that starts with {starts}; got {shown!r}", ""
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        return "a URL has no spaces or control characters", "write %20 for a space"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return f"the host or port of {shown!r} cannot be read", ""
    if is_alone and ("@" in parts.netloc or "?" in url or "#" in url):
        hint = "the key of the API is COURANTE_API_KEY, or stands in the file that COURANTE_API_KEY_FILE names"
        return "expected the URL alone: https://courante.example", hint
    if scheme == "unix" and (parts.netloc.rpartition("@")[2] or not parts.path.strip("/")):
        return f"expected unix:///path/of/the/socket; got {shown!r}", ""
    if not (parts.hostname or scheme == "unix" or "host=" in parts.query):
        return f"the URL names no host; got {shown!r}", ""
    return "", ""

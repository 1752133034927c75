"""Secret shapes: where in a text something stands that looks like a secret, whoever it belongs to.

RE2 throughout: the time is linear in the text, whatever is in it. Too much is masked rather than too little.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Protocol, cast

_NAMES = (
    rb"(?:password|passwd|passphrase|pwd|secret|secret[_-]?key|api[_-]?key|access[_-]?key|access[_-]?token"
    rb"|refresh[_-]?token|auth[_-]?token|client[_-]?secret|private[_-]?key|session[_-]?token)"
)
_TOKEN = rb"[A-Za-z0-9._~+/=-]"
_VENDORS = (
    rb"(gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}|xox[a-z]-[A-Za-z0-9-]{10,}"
    rb"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|ya29\.[0-9A-Za-z_-]{20,}|npm_[A-Za-z0-9]{30,}"
    rb"|hf_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    rb"|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?)"
)
_SHAPES = (
    # scheme://user:password@host, up to the last @ of the word: a password may hold one unquoted
    rb"[A-Za-z][A-Za-z0-9+.-]*://[^\s:@/?#\"'<>]*:([^\s\"'<>]+)@",
    # the header, in whatever notation: its scheme and what follows
    rb"(?i)\bauthorization['\"]?\s*[:=]\s*(?:b?['\"])?([^\s'\",;]+(?:\s+[^\s'\",;]+)?)",
    # long, or with a digit: not the words "bearer token" and "basic check"
    rb"(?i)\b(?:bearer|basic)\s+([A-Za-z._~+/=-]{0,15}[0-9]" + _TOKEN + rb"{3,}|" + _TOKEN + rb"{16,})",
    # password=x, 'api_key': 'x', {\"secret\": \"x\"}
    rb"(?i)" + _NAMES + rb"\\?['\"]?\s*=\s*(?:'([^'\n]*)'?|\"([^\"\n]*)\"?|([^\s'\"&,;)}\]]+))",
    rb"(?i)" + _NAMES + rb"\\?['\"]?\s*:\s*(?:'([^'\n]*)'?|\"([^\"\n]*)\"?|\\\"([^\"\n]*)\"?)",
    # keys of this API: their secret, not their id
    rb"crt_[0-9a-z]{12}_([0-9A-Fa-f]{16,})",
    # OpenAI, Anthropic, Stripe; the escapes are those of a repr
    rb"(?:\b|\\[nrtbfv])((?:sk|rk|pk)[-_][A-Za-z0-9_-]{16,})",
    # GitHub, GitLab, Slack, AWS, Google, npm, Hugging Face, PyPI, SendGrid, JWT
    _VENDORS,
    # a private key in PEM, to its end or that of the text
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----((?s:.)*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
)


class _Match(Protocol):
    def span(self, group: int = 0) -> tuple[int, int]: ...


class Pattern(Protocol):
    """What of re2 is used here."""

    @property
    def groups(self) -> int: ...

    def search(self, text: bytes) -> _Match | None: ...

    def finditer(self, text: bytes) -> Iterator[_Match]: ...


def compile_any_of(values: Iterable[bytes]) -> Pattern | None:
    """Return a pattern that finds any of these values, None where it would grow too large."""
    re2: Any = importlib.import_module("re2")
    try:
        return _compile(b"|".join(re2.escape(value) for value in values), captures=False)
    except re2.error:
        return None


def _compile(pattern: bytes, *, captures: bool = True) -> Pattern:
    """Compile for bytes: texts in UTF-8, of which the patterns read ASCII only."""
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not captures
    options.encoding = re2.Options.Encoding.LATIN1
    return cast("Pattern", re2.compile(pattern, options))


@cache
def _compiled() -> tuple[Pattern, tuple[Pattern, ...]]:
    """One pattern that tells whether there is anything at all, and those that tell where."""
    whole = _compile(b"|".join(b"(?:" + shape + b")" for shape in _SHAPES), captures=False)
    return whole, tuple(_compile(shape) for shape in _SHAPES)


def find_shapes(text: bytes) -> list[tuple[int, int]]:
    """Return the spans of what looks like a secret; they may overlap, in any order."""
    whole, shapes = _compiled()
    if whole.search(text) is None:
        return []
    spans = [
        match.span(group) for shape in shapes for match in shape.finditer(text) for group in range(1, shape.groups + 1)
    ]
    return [(start, end) for start, end in spans if start < end]

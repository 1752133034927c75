"""Redaction: secrets are masked in whatever leaves a step or a process as text: errors, tracebacks, logs.

Masked is what is known to be a secret (values of environment variables with such names, passwords in their URLs, what
was registered), also quoted, escaped or in base64, and what looks like one (``secret_shapes``). Linear in the text.
The outputs of steps are not touched: what a step returns is what it means to say.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import quote, quote_plus, unquote

from .secret_shapes import Pattern, compile_any_of, find_shapes

MASK = "***"
VALUE_CHARS_MIN = 6
"""A shorter value is no secret, and would be found everywhere."""
LINE_CHARS_MIN = 12
"""Of a value of many lines, each line as long as this is masked by itself."""
PIECE_CHARS = 1_024
"""A longer value is masked in pieces."""
PIECES_MAX = 256
VALUES_MAX = 10_000
TEXT_CHARS_MAX = 65_536
"""What is behind it is left out."""
DEPTH_MAX = 6
REREAD_S = 1.0
_CUT_BYTES = 1_024
"""Masked before a cut, where half of a secret may stand."""

_SECRET_NAME = re.compile(
    r"_(KEY|TOKEN|SECRET|PASS|PWD)$|^(KEY|TOKEN)$|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY"
    r"|PRIVATE_?KEY",
    re.IGNORECASE,
)
"""Of environment variables."""
_SECRET_FIELD = re.compile(
    r"password|passwd|passphrase|secret|credential|api[_-]?key|private[_-]?key|access[_-]?token|refresh[_-]?token"
    r"|authorization|cookie",
    re.IGNORECASE,
)
"""Of fields of a log line: shorter words stand for much that is none (a token, a key)."""


class _Known(NamedTuple):
    """``values``: the bytes to look for. ``any_of``: one pattern for all of them, None where it would be too large.

    ``spaced``: those that have spaces in them.
    """

    values: tuple[bytes, ...]
    any_of: Pattern | None
    longest: int
    spaced: tuple[bytes, ...] = ()


_NOTHING = _Known((), None, 0)


class Redactor:
    """Masks secrets in texts. May be used from any thread. What was a secret once stays one."""

    def __init__(self, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[bytes, None] = {}
        self._seen: list[tuple[str, str]] = []
        self._read_at = -float("inf")
        self._known = _NOTHING

    def register(self, *values: str) -> None:
        """Take values for secrets from now on; those shorter than ``VALUE_CHARS_MIN`` are ignored.

        Raises ValueError when there are more than ``VALUES_MAX``, each in its spellings; some are masked then.
        """
        if not self._add(values):
            raise ValueError(f"more than {VALUES_MAX:,} secrets, in all their spellings, cannot be masked")

    def register_url(self, url: str) -> None:
        """Take the password of a URL for a secret, also as HTTP sends it together with the user. Raises ValueError."""
        self.register(*_secrets_of_url(url))

    @property
    def size(self) -> int:
        """How many values are looked for."""
        return len(self._values)

    def reread(self) -> None:
        """Look for new secrets in the environment now; ``redact`` does so once a second."""
        self._read_at = self._clock()
        try:
            found = [(name, value) for name, value in self._environ.items() if "://" in value or _is_secret(name)]
        except KeyError:  # a variable has just been taken away by another thread; the next time is soon
            return
        if found == self._seen:
            return
        self._seen = found
        values: list[str] = []
        for name, value in found:
            values += [value] if _is_secret(name) else []
            values += _secrets_of_url(value)
        self._add(values)

    def redact(self, text: str) -> str:
        """Return the text with ``***`` for every secret in it, and without what is beyond ``TEXT_CHARS_MAX``."""
        if self._clock() - self._read_at > REREAD_S:
            self.reread()
        known = self._known
        is_cut = len(text) > TEXT_CHARS_MAX
        content = text[:TEXT_CHARS_MAX].encode("utf-8", "surrogatepass")
        spans = find_shapes(content)
        if known.any_of is None or known.any_of.search(content) is not None:
            spans += _find_values(content, known.values)
        if is_cut:  # what stands at the cut may be half a secret
            spans.append((max(0, len(content) - max(known.longest, _CUT_BYTES)), len(content)))
        return _masked(content, spans).decode("utf-8", "surrogatepass") if spans else text

    def redact_value(self, value: object, depth: int = DEPTH_MAX) -> object:
        """Return what is logged, with all texts in it masked, and fields whose name says that they are secret.

        Objects that are no JSON stay themselves unless their ``repr`` holds a secret.
        """
        if isinstance(value, str):
            return self.redact(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth and isinstance(value, dict):
            inner = cast("dict[object, object]", value)
            return {name: self.redact_field(name, below, depth - 1) for name, below in inner.items()}
        if depth and isinstance(value, list | tuple):
            return [self.redact_value(below, depth - 1) for below in cast("Iterable[object]", value)]
        try:
            shown = repr(value)
        except Exception as error:  # noqa: BLE001 - repr of a user's object is user code
            return f"({type(value).__name__} without a repr: {type(error).__name__})"
        masked = self.redact(shown)
        return value if masked == shown else masked

    def redact_field(self, name: object, value: object, depth: int = DEPTH_MAX) -> object:
        """Return the value of a named field: masked altogether where its name says that it is secret."""
        is_secret = isinstance(name, str) and _SECRET_FIELD.search(name) is not None
        return MASK if is_secret and value else self.redact_value(value, depth)

    def finds_nothing(self, text: str, fields: Mapping[str, object]) -> bool:
        """Whether nothing is to be masked in a text and its fields, told by one look at all of them.

        False also where only looking at each of them can tell.
        """
        texts = [text]
        for name, value in fields.items():
            if isinstance(value, str):
                texts.append(value)
            elif value is not None and type(value) is not bool and type(value) is not int:
                return False
            if _SECRET_FIELD.search(name) is not None:
                return False
        joined = "\n".join(texts)
        return self.redact(joined) is joined

    def begun_chars(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a known secret of several words.

        Those of one word are for the caller: nobody knows whether a word is complete before the next one begins.
        """
        content = text[-PIECE_CHARS:].encode("utf-8", "surrogatepass")
        begun = max((_begun(content, value) for value in self._known.spaced), default=0)
        return len(content[len(content) - begun :].decode("utf-8", "replace"))

    def _add(self, values: Iterable[str]) -> bool:
        """Take values in, and tell whether all had room."""
        spelled = dict.fromkeys(spelling for value in values for spelling in _spellings(value))
        with self._lock:
            fresh = [each for each in spelled if each not in self._values]
            room = VALUES_MAX - len(self._values)
            if fresh and room:
                self._values.update(dict.fromkeys(fresh[:room]))
                known = tuple(self._values)
                spaced = tuple(value for value in known if len(value.split()) > 1)
                self._known = _Known(known, compile_any_of(known), max(map(len, known)), spaced)
            return len(fresh) <= room


REDACTOR = Redactor(os.environ)
"""The one of this process."""


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets in a log line; a processor of structlog, to stand right before the renderer."""
    for name, value in list(event.items()):
        event[name] = REDACTOR.redact_field(name, value)
    return event


def mask_values(content: bytes, values: Iterable[str], *, is_cut: bool = False) -> bytes:
    """Return content with ``***`` for each of these values, in all spellings; values of no secret's length stay.

    is_cut: something followed that was left out. Its end, where half of a value may stand, is masked too.
    """
    spelled = dict.fromkeys(spelling for value in values for spelling in _spellings(value))
    spans = list(_find_values(content, spelled))
    if is_cut and spelled:
        spans.append((max(0, len(content) - max(map(len, spelled))), len(content)))
    return _masked(content, spans) if spans else content


@lru_cache(maxsize=10_000)
def _is_secret(name: str) -> bool:
    """Whether the value of a variable of this name is a secret. The environment is read again and again."""
    return _SECRET_NAME.search(name) is not None


def _find_values(content: bytes, values: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    for value in values:
        start = content.find(value)
        while start >= 0:
            yield start, start + len(value)
            start = content.find(value, start + len(value))


def _begun(content: bytes, value: bytes) -> int:
    """How many bytes at the end of a content are the beginning of a value."""
    most = min(len(content), len(value) - 1)
    return next((length for length in range(most, 0, -1) if content.endswith(value[:length])), 0)


def _masked(content: bytes, spans: list[tuple[int, int]]) -> bytes:
    """One mask for each run of spans that overlap or touch."""
    parts: list[bytes] = []
    at = 0
    last = -1
    for start, end in sorted(spans):
        if start > last:
            parts += (content[at:start], MASK.encode())
        last = max(last, end)
        at = last
    parts.append(content[at:])
    return b"".join(parts)


def _secrets_of_url(url: str) -> list[str]:
    _, _, rest = url.partition("://")
    userinfo, at, _ = rest.partition("\n")[0].rpartition("@")
    user, colon, password = userinfo.partition(":")
    if not (at and colon) or any(mark in user for mark in "/?#"):
        return []
    return [password, unquote(password), f"{user}:{password}", f"{unquote(user)}:{unquote(password)}"]


def _spellings(value: str) -> Iterator[bytes]:
    """A secret as it may stand in a text: as it is, in JSON, in a repr, in a URL, in base64; long ones in pieces."""
    value = value.strip()
    if len(value) < VALUE_CHARS_MIN:
        return
    for piece in dict.fromkeys(_pieces(value)):
        content = piece.encode("utf-8", "surrogatepass")
        encoded = (base64.b64encode(content), base64.urlsafe_b64encode(content))
        yield content
        yield from (each.rstrip(b"=") for each in encoded)
        for spelling in (json.dumps(piece), json.dumps(piece, ensure_ascii=False), repr(piece)):
            yield spelling[1:-1].encode("utf-8", "surrogatepass")
        yield repr(f"{piece}'\"")[1:-4].encode("utf-8", "surrogatepass")  # as part of a text with both sorts of quotes
        for quoting in (quote, quote_plus):
            yield quoting(content, safe="").encode()


def _pieces(value: str) -> Iterator[str]:
    pieces = [value[at : at + PIECE_CHARS] for at in range(0, len(value), PIECE_CHARS)]
    if len(pieces) > 1 and len(pieces[-1]) < VALUE_CHARS_MIN:
        pieces[-1] = pieces[-2][-PIECE_CHARS // 2 :] + pieces[-1]
    yield from pieces[:PIECES_MAX]
    if "\n" in value:
        lines = (line.strip() for line in value.splitlines()[:PIECES_MAX])
        yield from (line[:PIECE_CHARS] for line in lines if len(line) >= LINE_CHARS_MIN)

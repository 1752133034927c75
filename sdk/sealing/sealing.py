"""Sealing: texts and errors that stand among what everybody may read, encrypted where payloads are. Pure.

A payload is stored apart, and as a whole; here a text alone is encrypted, so that a row or an event around it can
still be searched by all the rest. Without a codec everything is its own sealed form. Decoding is for those who need
the text and may fail; ``shown_...`` is for people, who are told what is missing in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ..errors import PayloadUnreadable
from ..events import ErrorInfo
from .payload_terms import PAYLOAD_TERMS, SEALED_HEAD

SEALED_SAYINGS = ("comment", "reason")
"""What a person says with a decision, in the facts of an event."""
_HEAD = SEALED_HEAD.decode()
_decode = msgspec.json.Decoder(ErrorInfo).decode
_encode = msgspec.json.Encoder().encode


def seal_text(text: str) -> str:
    """Return what is stored of a text; of an empty one nothing."""
    return PAYLOAD_TERMS.encode(text.encode()).decode() if text and PAYLOAD_TERMS.codec is not None else text


def open_text(stored: str) -> str:
    """Return the text. Raises PayloadUnreadable."""
    return stored if PAYLOAD_TERMS.codec is None and not stored.startswith(_HEAD) else _opened(stored)


def shown_text(stored: str) -> str:
    """Return the text, or why it cannot be read."""
    try:
        return open_text(stored)
    except PayloadUnreadable as error:
        return f"(unreadable: {error})"


def seal_error(error: ErrorInfo) -> ErrorInfo:
    """Return what is stored of an error. Its type, class and place stay open: they are searched for."""
    if PAYLOAD_TERMS.codec is None:
        return error
    return msgspec.structs.replace(error, message=seal_text(error.message), traceback=seal_text(error.traceback))


def open_error(error: ErrorInfo) -> ErrorInfo:
    """Raises PayloadUnreadable."""
    return msgspec.structs.replace(error, message=open_text(error.message), traceback=open_text(error.traceback))


def shown_error(error: ErrorInfo) -> ErrorInfo:
    """Return the error for people: where its text cannot be read, it says so."""
    try:
        return open_error(error)
    except PayloadUnreadable:
        return msgspec.structs.replace(error, message=shown_text(error.message), traceback="")


def read_error(content: bytes | str | None) -> ErrorInfo | None:
    """Return a stored error, JSON, for people; None where there is none."""
    return None if content is None else shown_error(_decode(content))


def open_error_json(content: bytes) -> bytes:
    """Return a stored error with its texts, as JSON; what holds nothing sealed as it is. Raises PayloadUnreadable."""
    return _encode(open_error(_decode(content))) if SEALED_HEAD in content else content


def seal_sayings(said: Mapping[str, object]) -> dict[str, object]:
    """Return what the log says of a decision: who it was stays open."""
    return _each(said, seal_text)


def open_sayings(said: Mapping[str, object]) -> dict[str, object]:
    """Raises PayloadUnreadable."""
    return _each(said, open_text)


def shown_sayings(said: Mapping[str, object]) -> dict[str, object]:
    """Return the same for people."""
    return _each(said, shown_text)


def _each(said: Mapping[str, object], of: Callable[[str], str]) -> dict[str, object]:
    found = dict(said)
    for name in SEALED_SAYINGS:
        text = found.get(name)
        if isinstance(text, str):
            found[name] = of(text)
    return found


def _opened(stored: str) -> str:
    return PAYLOAD_TERMS.decode(stored.encode()).decode()

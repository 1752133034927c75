"""Said texts: what people say with what they ask, and what becomes part of the log, as they said it. Pure."""

from __future__ import annotations

from ..errors import InputInvalid

TEXT_CHARS_MAX = 10_000


def check_said(**texts: str | None) -> None:
    """Raise InputInvalid, naming the field, for a text that is too long or that Postgres cannot hold."""
    for name, text in texts.items():
        if text is None:
            continue
        if len(text) > TEXT_CHARS_MAX:
            raise InputInvalid(f"{name}: it has {len(text):,} characters; at most {TEXT_CHARS_MAX:,} are allowed")
        if "\x00" in text:
            raise InputInvalid(f"{name}: it holds a NUL character")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputInvalid(f"{name}: it holds half of a surrogate pair") from error

"""Functions on strings. Positions count code points from 0. Each charges for what it scans and makes, beforehand."""

from __future__ import annotations

from .errors import invalid
from .frame import Frame, Value, kind_of
from .values import MadeList, is_list, no_overload

_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
# White space of Unicode, as CEL's trim() has it; Python's strip() also takes the separators 0x1c to 0x1f.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def _texts(frame: Frame, name: str, *values: Value) -> None:
    """Check that all arguments are strings, and charge for reading them."""
    for value in values:
        if kind_of(value) is not str:
            raise no_overload(name, *values)
        frame.charge_read(len(value))


def _whole(name: str, *values: Value) -> None:
    for value in values:
        if kind_of(value) is not int:
            raise no_overload(name, *values)


def contains(frame: Frame, text: Value, part: Value) -> Value:
    _texts(frame, "contains", text, part)
    return part in text


def starts_with(frame: Frame, text: Value, prefix: Value) -> Value:
    _texts(frame, "startsWith", text, prefix)
    return text.startswith(prefix)


def ends_with(frame: Frame, text: Value, suffix: Value) -> Value:
    _texts(frame, "endsWith", text, suffix)
    return text.endswith(suffix)


def lower_ascii(frame: Frame, text: Value) -> Value:
    _texts(frame, "lowerAscii", text)
    frame.charge_made(len(text))
    return text.translate(_LOWER)


def upper_ascii(frame: Frame, text: Value) -> Value:
    _texts(frame, "upperAscii", text)
    frame.charge_made(len(text))
    return text.translate(_UPPER)


def trim(frame: Frame, text: Value) -> Value:
    _texts(frame, "trim", text)
    frame.charge_made(len(text))
    return text.strip(_SPACE)


def split(frame: Frame, text: Value, separator: Value, limit: Value = -1) -> Value:
    """Cut at ``separator``, into single code points when it is empty; into at most ``limit`` pieces unless negative."""
    _texts(frame, "split", text, separator)
    _whole("split", limit)
    pieces = text.count(separator) + 1 if separator else len(text)
    frame.charge(pieces if limit < 0 else min(pieces, limit))
    frame.charge_made(len(text))
    if limit == 0:
        return MadeList()
    if separator:
        return MadeList(text.split(separator, -1 if limit < 0 else min(limit, pieces) - 1))
    if limit < 0 or limit >= len(text):
        return MadeList(text)
    return MadeList((*text[: limit - 1], text[limit - 1 :]))


def join(frame: Frame, parts: Value, separator: Value = "") -> Value:
    if not is_list(parts) or kind_of(separator) is not str:
        raise no_overload("join", parts, separator)
    frame.charge(len(parts))
    length = len(separator) * max(len(parts) - 1, 0)
    for part in parts:
        if kind_of(part) is not str:
            raise no_overload("join of a list with", part)
        length += len(part)
    frame.charge_made(length)
    return separator.join(parts)


def replace(frame: Frame, text: Value, old: Value, new: Value, limit: Value = -1) -> Value:
    """Put ``new`` for the first ``limit`` places of ``old``, for all when negative."""
    _texts(frame, "replace", text, old, new)
    _whole("replace", limit)
    count = text.count(old)
    count = count if limit < 0 else min(count, limit)
    frame.charge_made(len(text) + count * max(len(new) - len(old), 0))
    return text.replace(old, new, count)


def substring(frame: Frame, text: Value, start: Value, end: Value = None) -> Value:
    end = len(text) if end is None and kind_of(text) is str else end
    _texts(frame, "substring", text)
    _whole("substring", start, end)
    if not 0 <= start <= end <= len(text):
        raise invalid(f"substring({start}, {end}) is outside a string of {len(text)}")
    frame.charge_made(end - start)
    return text[start:end]


def char_at(frame: Frame, text: Value, position: Value) -> Value:
    """Take one code point; empty just past the end."""
    _texts(frame, "charAt", text)
    _whole("charAt", position)
    if not 0 <= position <= len(text):
        raise invalid(f"charAt({position}) is outside a string of {len(text)}")
    return text[position : position + 1]


def index_of(frame: Frame, text: Value, part: Value, start: Value = 0) -> Value:
    """Find the first place at or after ``start``; -1 where there is none."""
    _texts(frame, "indexOf", text, part)
    _whole("indexOf", start)
    if not 0 <= start <= len(text):
        raise invalid(f"indexOf from {start} is outside a string of {len(text)}")
    return text.find(part, start)


def last_index_of(frame: Frame, text: Value, part: Value, start: Value = None) -> Value:
    """Find the last place at or before ``start``; -1 where there is none."""
    _texts(frame, "lastIndexOf", text, part)
    if start is None:
        return text.rfind(part)
    _whole("lastIndexOf", start)
    if not 0 <= start <= len(text):
        raise invalid(f"lastIndexOf from {start} is outside a string of {len(text)}")
    return text.rfind(part, 0, start + len(part))

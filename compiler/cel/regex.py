"""Regular expressions by RE2: time linear in the text, whatever the pattern.

A constant pattern is compiled with its expression, any other at each use (charged for). Imported when first needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

from .errors import Fault, invalid
from .frame import Frame, Value, kind_of
from .values import no_overload

MAX_PATTERN = 1_000
"""Code points of a pattern."""
_MAX_MEMORY = 1 << 20
_SMALL_PROGRAM = 100
_COMPILE_STEPS = 200


class _Pattern(Protocol):
    @property
    def programsize(self) -> int: ...

    def search(self, text: bytes) -> object | None: ...


def compile_pattern(pattern: str) -> _Pattern:
    """Compile for searching. Raises Fault ``bad_regex``."""
    if len(pattern) > MAX_PATTERN:
        raise Fault("bad_regex", f"the regular expression has more than {MAX_PATTERN:,} characters")
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY
    try:
        return cast("_Pattern", re2.compile(pattern.encode(), options))
    except re2.error as error:
        reason: object = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise Fault("bad_regex", f"bad regular expression {pattern[:100]!r}: {text}") from None
    except UnicodeEncodeError:
        raise Fault("bad_regex", "the regular expression is not valid Unicode") from None


def _search(frame: Frame, pattern: _Pattern, text: str) -> bool:
    size = pattern.programsize
    frame.charge(1 + (len(text) >> 4 if size < _SMALL_PROGRAM else len(text) * size >> 7))
    try:
        return pattern.search(text.encode()) is not None
    except UnicodeEncodeError:
        raise invalid("the string is not valid Unicode") from None


def matches(frame: Frame, text: Value, pattern: Value) -> Value:
    """Tell whether ``pattern`` is found anywhere in ``text``."""
    if kind_of(text) is not str or kind_of(pattern) is not str:
        raise no_overload("matches", text, pattern)
    frame.charge(_COMPILE_STEPS + 8 * len(pattern))
    return _search(frame, compile_pattern(pattern), text)


def matches_constant(pattern: str) -> Callable[[Frame, Value], Value]:
    """Compile ``matches`` with a pattern known beforehand. Raises Fault ``bad_regex``."""
    compiled = compile_pattern(pattern)

    def match(frame: Frame, text: Value) -> Value:
        if kind_of(text) is not str:
            raise no_overload("matches", text, pattern)
        return _search(frame, compiled, text)

    return match

"""Plain values: what may stand in a document, checked on Python values and on strings of a text."""

from __future__ import annotations

import math
from typing import Any, cast

from .diagnostics import Path
from .findings import Findings, quote
from .limits import DEPTH_MAX, INT_MAX, INT_MIN


def text_fault(text: str) -> tuple[str, str] | None:
    """Code and message if a string cannot be stored: a NUL (Postgres) or half a surrogate pair (UTF-8)."""
    if "\0" in text:
        return "nul_character", "a string holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone_surrogate", "a string holds half a surrogate pair"
    return None


def check_plain(value: object, findings: Findings) -> None:
    """Report everything in a Python value that JSON cannot hold. Iterative: depth and cycles end at the limit."""
    open_values: list[tuple[Path, object]] = [((), value)]
    while open_values:
        path, here = open_values.pop()
        if isinstance(here, (dict, list)):
            if len(path) >= DEPTH_MAX:
                findings.error("too_deep", f"more than {DEPTH_MAX} objects and lists inside each other", path)
                return
            open_values.extend(reversed(_members(cast("dict[Any, Any] | list[Any]", here), path, findings)))
        elif fault := _scalar_fault(here):
            findings.error(*fault, path)


def _members(box: dict[Any, Any] | list[Any], path: Path, findings: Findings) -> list[tuple[Path, object]]:
    if isinstance(box, list):
        return [((*path, index), below) for index, below in enumerate(box)]
    members: list[tuple[Path, object]] = []
    for key, below in box.items():
        if not isinstance(key, str):
            findings.error("not_json", f"the key {quote(key)} is not a string", path)
        elif fault := text_fault(key):
            findings.error(*fault, path)
        else:
            members.append(((*path, key), below))
    return members


def _scalar_fault(value: object) -> tuple[str, str] | None:
    if isinstance(value, str):
        return text_fault(value)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        fits = INT_MIN <= value <= INT_MAX
        return None if fits else ("number_too_large", "an integer does not fit in 64 bits")
    if isinstance(value, float):
        return None if math.isfinite(value) else ("number_not_finite", f"{value} is not a JSON number")
    return "not_json", f"a {type(value).__name__} is not a JSON value"

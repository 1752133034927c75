"""Extraction: the JSON in what a model has said: all of it, in a fenced block, or between other words. Pure.

Never raises. Its time is at most proportional to the length of the text, whatever that holds: where brackets beyond
reason begin values that never end, it gives up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import msgspec

FENCE = "```"
WORK_PER_CHAR = 50
"""Characters that may be read for each one of the text, ..."""
WORK_MIN = 1_000_000
"""... and those that always may."""
NESTED_CHARS_MAX = 20_000
"""What a value that is nested too deeply may have cost."""
LOOKED_BACK_PER_CHAR = 25
"""An error counts the lines before it: that is so much faster than reading."""
VALUES_MAX = 1_000


class Extracted(NamedTuple):
    """``is_valid``: ``json`` is what was wanted. Else the first value that was found, None where there is none."""

    json: Any
    is_valid: bool
    is_found: bool


def extract_json(text: str, is_wanted: Callable[[Any], bool] = lambda _value: True) -> Extracted:
    """Return the first value in a text that is wanted."""
    first: list[Any] = []
    for value in found_values(text):
        if is_wanted(value):
            return Extracted(value, is_valid=True, is_found=True)
        first = first or [value]
    return Extracted(first[0] if first else None, is_valid=False, is_found=bool(first))


def found_values(text: str) -> Iterator[Any]:
    """Yield the whole text if it is JSON; what fenced blocks hold; then every object and list, in order of their
    beginnings, also those inside of others. At most ``VALUES_MAX``.
    """
    left = VALUES_MAX
    for whole in (text, *_fenced(text)):
        value = _decoded(whole.strip().removeprefix("\ufeff"))
        if value is not _NONE:
            left -= 1
            yield value
        if not left:
            return
    for value in _embedded(text):
        left -= 1
        yield value
        if not left:
            return


def _fenced(text: str) -> Iterator[str]:
    """The contents of closed blocks, without the word that may stand behind the opening fence."""
    blocks = text.split(FENCE)
    for block in blocks[1 : len(blocks) - 1 : 2]:
        head, line, rest = block.partition("\n")
        word = head.strip()
        yield rest if line and (not word or word.isalnum()) else block.removeprefix("json")


def _embedded(text: str) -> Iterator[Any]:
    work_left = WORK_MIN + WORK_PER_CHAR * len(text)
    found = _START.search(text)
    while found is not None and work_left > 0:
        at = found.start()
        found = _START.search(text, at + 1)
        try:
            _, end = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            work_left -= error.pos - at + error.pos // LOOKED_BACK_PER_CHAR + 1
            continue
        except (ValueError, RecursionError):  # an endless number, or NaN; nested too deeply
            work_left -= min(NESTED_CHARS_MAX, len(text) - at)
            continue
        work_left -= end - at
        value = _decoded(text[at:end])
        if value is not _NONE:
            yield value


def _decoded(text: str) -> Any:
    """The value as the engine reads JSON, ``_NONE`` where it is none."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _NONE


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_NONE = object()
_START = re.compile(r'\{(?=\s*["}])|\[(?=\s*[-0-9"tfn{\[\]])')
"""Where an object or a list can begin."""
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_decode = msgspec.json.Decoder().decode

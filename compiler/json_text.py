"""JSON text -> value, and the marks of a JSON text.

The common case is one pass of the C parser of the standard library, with hooks that notice what it lets through:
keys that stand twice, NaN and infinities, integers beyond 64 bits. Only a text in which something was noticed is
read a second time for the places. Depth is measured before parsing, so no input can exhaust the stack.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple, cast

from .diagnostics import Path
from .findings import Findings, quote
from .limits import DEPTH_MAX, INT_MAX, INT_MIN
from .marks import Mark
from .plain import text_fault
from .source_error import SourceError
from .workflow import Json

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_TOKEN = re.compile(r'[ \t\r\n]*(?:"((?:[^"\\]|\\.)*)"|([{}\[\],:])|([^\s{}\[\],:"]+))', re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class _Fault(NamedTuple):
    """Stands in the value where a number was that is no JSON number of ours."""

    code: str
    message: str


def read_json(text: str) -> Json:
    """Raises SourceError with every fault found."""
    if _depth(text) > DEPTH_MAX:
        message = f"more than {DEPTH_MAX} objects and lists inside each other"
        raise SourceError.of("too_deep", message, at=_too_deep_at(text))
    noticed: list[str] = []

    def constant(word: str) -> _Fault:
        noticed.append(word)
        return _Fault("number_not_finite", f"{word} is not a JSON number")

    def integer(digits: str) -> int | _Fault:
        if len(digits) < 19 or (len(digits) <= 20 and INT_MIN <= int(digits) <= INT_MAX):
            return int(digits)
        noticed.append(digits)
        return _Fault("number_too_large", f"the integer {digits[:24]} does not fit in 64 bits")

    def real(digits: str) -> float | _Fault:
        number = float(digits)
        if math.isfinite(number):
            return number
        noticed.append(digits)
        return _Fault("number_not_finite", f"the number {digits[:24]} is too large")

    def fields(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(pairs)
        if len(made) != len(pairs):
            noticed.append("duplicate")
        return made

    try:
        value = json.loads(text, parse_constant=constant, parse_int=integer, parse_float=real, object_pairs_hook=fields)
    except json.JSONDecodeError as error:
        at = (error.lineno, error.colno)
        raise SourceError.of("json_syntax", f"not JSON: {error.msg}", at=at) from error
    if noticed or _SUSPECT_ESCAPE.search(text):
        _refuse(text, value)
    return value


def repeated_keys(text: str) -> list[Path]:
    """The keys that stand again in their object, of a text that is JSON. Cheap where there are none."""
    noticed = False

    def fields(pairs: list[tuple[str, Json]]) -> None:
        nonlocal noticed
        noticed = noticed or len({key for key, _ in pairs}) != len(pairs)

    json.loads(text, object_pairs_hook=fields)
    twice: list[tuple[Path, Mark]] = []
    if noticed:
        json_marks(text, twice)
    return [path for path, _ in twice]


def json_marks(text: str, twice: list[tuple[Path, Mark]] | None = None) -> Mark:
    """The marks of a text that ``read_json`` has parsed. ``twice`` receives keys that stand again in their object."""
    return _Marker(text, twice).read()


def _depth(text: str) -> int:
    """The deepest nesting, strings left out; right up to the first syntax error."""
    plain = _ESCAPE.sub("", text) if "\\" in text else text
    pieces = plain.encode().translate(None, _NOT_STRUCTURE).split(b'"')
    brackets = b"".join(pieces[::2])
    return max(accumulate(_STEP[byte] for byte in brackets), default=0)


def _too_deep_at(text: str) -> tuple[int, int]:
    """Line and column of the first bracket that is too deep; (0, 0) behind a syntax error."""
    depth = position = 0
    while (token := _TOKEN.match(text, position)) is not None:
        position = token.end()
        depth += _STEP.get(ord(token[2]), 0) if token[2] else 0
        if depth > DEPTH_MAX:
            start = token.start(2)
            return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return 0, 0


def _refuse(text: str, value: Json) -> None:
    """Raise SourceError if something in ``value`` is not allowed."""
    twice: list[tuple[Path, Mark]] = []
    marks = json_marks(text, twice)
    findings = Findings()
    for path, mark in twice:
        findings.error("duplicate_key", f"the key {quote(path[-1])} stands twice in one object", path, at=mark.key_at)
    open_values: list[tuple[Path, Json]] = [((), value)]
    while open_values:
        path, here = open_values.pop()
        if isinstance(here, _Fault):
            findings.error(here.code, here.message, path, at=marks.find(path)[0].at)
        elif isinstance(here, dict):
            for key, below in cast("dict[str, Json]", here).items():
                _check_text(key, (*path, key), marks.find((*path, key))[0].key_at, findings)
                open_values.append(((*path, key), below))
        elif isinstance(here, list):
            open_values.extend(((*path, index), below) for index, below in enumerate(cast("list[Json]", here)))
        elif isinstance(here, str):
            _check_text(here, path, marks.find(path)[0].at, findings)
    if findings:
        raise SourceError(findings.all(), value)


def _check_text(text: str, path: Path, at: tuple[int, int], findings: Findings) -> None:
    if fault := text_fault(text):
        findings.error(*fault, path, at=at)


class _Marker:
    """Walks the tokens of a well-formed text once, with a stack of its own."""

    def __init__(self, text: str, twice: list[tuple[Path, Mark]] | None) -> None:
        self._text = text
        self._twice = twice
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._open: list[Mark] = []
        self._path: list[str | int] = []
        self._key: tuple[str, tuple[int, int]] | None = None
        self._root: Mark | None = None

    def read(self) -> Mark:
        for token in _TOKEN.finditer(self._text):
            word, sign, _ = token.groups()
            start = token.start(token.lastindex or 0)
            if word is not None:
                self._on_string(word, self._place(start - 1))
            elif sign is None:
                self._put(Mark(self._place(start)))
            elif sign in "{[":
                self._enter(sign, self._place(start))
            elif sign in "}]":
                self._open.pop()
                if self._path:
                    self._path.pop()
        assert self._root is not None, "read_json accepted a text without a value"
        return self._root

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def _on_string(self, word: str, at: tuple[int, int]) -> None:
        if self._open and self._open[-1].fields is not None and self._key is None:
            self._key = (json.loads(f'"{word}"') if "\\" in word else word, at)
        else:
            self._put(Mark(at))

    def _enter(self, sign: str, at: tuple[int, int]) -> None:
        mark = Mark(at)
        step = self._put(mark)
        if sign == "{":
            mark.fields = {}
        else:
            mark.items = []
        self._open.append(mark)
        if step is not None:
            self._path.append(step)

    def _put(self, mark: Mark) -> str | int | None:
        """Hang a value into what is open; returns its key or index, None for the root."""
        if not self._open:
            self._root = mark
            return None
        box = self._open[-1]
        if box.fields is None:
            assert box.items is not None, "an open mark is an object or a list"
            box.items.append(mark)
            return len(box.items) - 1
        assert self._key is not None, "a member has a key"
        key, mark.key_at = self._key
        self._key = None
        if key in box.fields and self._twice is not None:
            self._twice.append(((*self._path, key), mark))
        box.fields[key] = mark
        return key

"""Source: the text of a document -> plain JSON values, with the line and column of every key and value.

Promises: what comes out holds only None, bool, int (64 bit), finite float, str (no NUL, no lone surrogate), list and
dict with str keys, at most ``DEPTH_MAX`` deep; every key of the text is there once. All else is refused with a coded
diagnostic and its place, before anything large is built. Never reads a file, never runs a tag.

JSON follows RFC 8259. YAML follows the 1.2 core schema: ``no``, ``on``, dates and ``12:30:45`` are strings, ``0o17``
is 15, keys are strings as written. An alias may stand for a value written before it, up to ``ALIAS_NODES_MAX``
values in all; merge keys (``<<``) and tags other than those of the core schema are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import msgspec

from .diagnostics import Diagnostic, Path
from .findings import Findings
from .json_text import json_marks, read_json
from .limits import TEXT_BYTES_MAX
from .marks import Mark
from .plain import check_plain
from .source_error import SourceError
from .workflow import Json
from .yaml_text import read_yaml, yaml_marks

__all__ = ["Source", "SourceError", "load_source", "read_source", "source_of"]

Format: TypeAlias = Literal["yaml", "json"]

KEY_CODES = frozenset({"unknown_field", "ignored_field", "duplicate_key"})
"""Findings about a key rather than about what it holds."""


class Source:
    """A document that was read: its value, and the places in the text it came from."""

    def __init__(self, value: Json, marks: Callable[[], Mark] | None = None) -> None:
        self.value = value
        self._read_marks = marks
        self._marks: Mark | None = None

    def position(self, path: Path, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at ``path`` or of its key; (0, 0) for a document without text.

        A path that is not in the document has the place of its nearest ancestor. The first call reads the text again.
        """
        if self._read_marks is None:
            return 0, 0
        if self._marks is None:
            self._marks = self._read_marks()
        mark, whole = self._marks.find(path)
        return mark.key_at if of_key and whole else mark.at

    def locate(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """Fill in line and column where they are missing."""
        return [d if d.line else self._located(d) for d in diagnostics]

    def _located(self, diagnostic: Diagnostic) -> Diagnostic:
        line, column = self.position(diagnostic.path, of_key=diagnostic.code in KEY_CODES)
        return msgspec.structs.replace(diagnostic, line=line, column=column)


def load_source(text: bytes | str, *, format: Format | None = None, bytes_max: int = TEXT_BYTES_MAX) -> Source:
    """Read a document. ``format`` None: JSON where the text begins with ``{`` or ``[`` and is JSON, else YAML.

    Raises SourceError with every fault found.
    """
    source, error = read_source(text, format=format, bytes_max=bytes_max)
    if error is not None:
        raise error
    return source


def read_source(
    text: bytes | str, *, format: Format | None = None, bytes_max: int = TEXT_BYTES_MAX
) -> tuple[Source, SourceError | None]:
    """Like ``load_source``; gives a text with faults that leave the rest readable together with them.

    Raises SourceError where nothing can be read.
    """
    words = _decode(text, bytes_max)
    if format is None:
        format = "json" if words.lstrip()[:1] in ("{", "[") else "yaml"
        if format == "json":
            try:
                return _read(words, "json")
            except SourceError as json_error:
                if json_error.diagnostics[0].code != "json_syntax":
                    raise
                try:
                    return _read(words, "yaml")
                except SourceError:
                    raise json_error from None
    return _read(words, format)


def _read(words: str, format: Format) -> tuple[Source, SourceError | None]:
    read, marks = (read_json, json_marks) if format == "json" else (read_yaml, yaml_marks)
    try:
        return Source(read(words), lambda: marks(words)), None
    except SourceError as error:
        if error.value is None:
            raise
        return Source(error.value, lambda: marks(words)), error


def source_of(value: object) -> Source:
    """Take a Python value as a document without text. Raises SourceError if it is more than plain JSON."""
    findings = Findings()
    check_plain(value, findings)
    if findings:
        raise SourceError(findings.all())
    return Source(value)


def _decode(text: bytes | str, bytes_max: int) -> str:
    if len(text) > bytes_max:
        raise SourceError.of("too_large", f"the document is longer than the {bytes_max} bytes allowed")
    try:
        words = text.decode() if isinstance(text, bytes) else text
        size = len(text) if isinstance(text, bytes) else len(text.encode())
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        hint = "save the document as UTF-8"
        raise SourceError.of("bad_utf8", f"the document is not UTF-8: {error.reason}", hint=hint) from error
    if size > bytes_max:
        raise SourceError.of("too_large", f"the document has {size} bytes, {bytes_max} are allowed")
    words = words.removeprefix("\ufeff")
    nul = words.find("\0")
    if nul >= 0:
        at = (words.count("\n", 0, nul) + 1, nul - words.rfind("\n", 0, nul))
        raise SourceError.of("nul_character", "the document holds a NUL character", at=at)
    return words

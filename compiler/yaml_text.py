"""YAML text -> value, and the marks of a YAML text.

Built on the events of libyaml's parser (the pure one of pyyaml where libyaml is missing), with a stack of its own, so
that depth, aliases and duplicates are judged before anything is built from them. The core schema of YAML 1.2 is
resolved here; the loaders of pyyaml follow YAML 1.1 (``no`` is false, ``12:30`` is a number) and are not used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import yaml

from .findings import Findings, quote
from .limits import ALIAS_NODES_MAX, DEPTH_MAX, INT_MAX, INT_MIN
from .marks import Mark
from .plain import text_fault
from .source_error import SourceError
from .workflow import Json

_WORDS: dict[str, Json] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_DIGITS = frozenset("0123456789+-.")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INT_CHARS_MAX = 32
_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_CORE + "int": int, _CORE + "float": float, _CORE + "bool": bool, _CORE + "null": type(None)}
_QUOTE_IT = "put it in quotes if it is a string"
_TABS = "a tab stands at the beginning of the line: YAML is indented with spaces"


class _Anchored(NamedTuple):
    """A value that an alias may stand for: how many values it holds and how deep it is."""

    value: Json
    values: int
    depth: int


class _Frame:
    """An object or a list that is being filled.

    ``key``: of the member whose value comes next, None where a key comes. ``step``: its own place in what holds it.
    """

    __slots__ = ("anchor", "deepest", "fields", "items", "key", "step", "values_before")

    def __init__(self, step: str | int | None, anchor: str | None, depth: int, values_before: int) -> None:
        self.fields: dict[str, Json] | None = None
        self.items: list[Json] = []
        self.step = step
        self.anchor = anchor
        self.deepest = depth
        self.values_before = values_before
        self.key: str | None = None


def read_yaml(text: str) -> Json:
    """Raises SourceError with every fault found up to the first that ends the reading."""
    return _Reader().read(text)


def yaml_marks(text: str) -> Mark:
    """The marks of a text that ``read_yaml`` has accepted. An alias has the marks of what it stands for inside."""
    anchors: dict[str, Mark] = {}
    frames: list[Mark] = []
    keys: list[tuple[str, tuple[int, int]] | None] = []
    root: Mark | None = None
    for event in _events(text):
        kind = event.__class__
        if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            frames.pop()
            keys.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        at = _place(event)
        if isinstance(event, yaml.ScalarEvent) and frames and frames[-1].fields is not None and keys[-1] is None:
            keys[-1] = (event.value, at)
            continue
        mark = Mark(at)
        anchor: str | None = event.anchor
        if anchor is not None and isinstance(event, yaml.AliasEvent):
            mark.fields, mark.items = anchors[anchor].fields, anchors[anchor].items
        elif anchor is not None:
            anchors[anchor] = mark
        if not frames:
            root = mark
        else:
            _hang(mark, frames[-1], keys)
        if isinstance(event, yaml.CollectionStartEvent):
            if kind is yaml.MappingStartEvent:
                mark.fields = {}
            else:
                mark.items = []
            frames.append(mark)
            keys.append(None)
    assert root is not None, "read_yaml accepted a text without a value"
    return root


def _hang(mark: Mark, box: Mark, keys: list[tuple[str, tuple[int, int]] | None]) -> None:
    if box.items is not None:
        box.items.append(mark)
        return
    named = keys[-1]
    assert named is not None, "a member has a key"
    assert box.fields is not None, "an open mark is an object or a list"
    key, mark.key_at = named
    box.fields[key] = mark
    keys[-1] = None


def _events(text: str) -> Iterator[Any]:
    """The events of the text. A syntax error is raised as SourceError."""
    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        while (event := loader.get_event()) is not None:
            yield event
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        at = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise SourceError.of("yaml_syntax", f"not YAML: {error.reason}", at=at) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        hint = _TABS if mark and "\t" in _before(text, mark.line, mark.column + 1) else ""
        raise SourceError.of("yaml_syntax", f"not YAML: {problem}", hint=hint, at=at) from error
    except yaml.YAMLError as error:
        raise SourceError.of("yaml_syntax", f"not YAML: {error}") from error


def _before(text: str, line: int, column: int) -> str:
    """The first characters of a line, counted from 0, as far as they are white space."""
    start = "".join(text.splitlines(keepends=True)[line : line + 1])[:column]
    return start[: len(start) - len(start.lstrip())]


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Reader:
    """Builds the value of one document from its events."""

    def __init__(self) -> None:
        self._findings = Findings()
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Anchored] = {}
        self._values = 0
        self._alias_values = 0
        self._documents = 0
        self._root: Json = None

    def read(self, text: str) -> Json:
        """The value of the text. Raises SourceError."""
        for event in _events(text):
            kind = event.__class__
            if kind is yaml.ScalarEvent:
                self._on_scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._on_start(event, is_object=kind is yaml.MappingStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._on_end()
            elif kind is yaml.AliasEvent:
                self._on_alias(event)
            elif kind is yaml.DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    self._fail(event, "many_documents", "the text holds more than one document")
        if not self._documents:
            self._findings.error("empty_document", "the text holds no document", at=(1, 1))
        if self._findings:
            raise SourceError(self._findings.all(), self._root)
        return self._root

    def _on_scalar(self, event: Any) -> None:
        text: str = event.value
        if self._frames and (frame := self._frames[-1]).fields is not None and frame.key is None:
            self._on_key(event, frame, frame.fields)
            return
        value: Json = text
        if event.tag is not None:
            value = self._tagged(event)
        elif event.implicit[0] and (text in _WORDS or text[0] in _DIGITS):
            value = self._plain(event)
        if event.style == '"' and (fault := text_fault(text)):
            self._error(event, *fault)
        self._values += 1
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        self._put(value)

    def _on_key(self, event: Any, frame: _Frame, fields: dict[str, Json]) -> None:
        text: str = event.value
        frame.key = text
        if text == "<<" and event.implicit[0]:
            self._error(event, "yaml_merge_key", "merge keys are not supported", "write the fields out")
        if event.tag not in {None, "!", _CORE + "str"}:
            self._error(event, "yaml_tag", f"a key with the tag {quote(event.tag)}", "keys are plain strings")
        if event.anchor is not None:
            self._error(event, "yaml_key", "a key with an anchor", "put the anchor at a value")
        if event.style == '"' and (fault := text_fault(text)):
            self._error(event, *fault)
        if text in fields:
            self._error(event, "duplicate_key", f"the key {quote(text)} stands twice in one object")

    def _on_start(self, event: Any, *, is_object: bool) -> None:
        depth = len(self._frames) + 1
        if depth > DEPTH_MAX:
            self._fail(event, "too_deep", f"more than {DEPTH_MAX} objects and lists inside each other")
        self._no_key(event, "a key that is an object or a list")
        if event.tag not in {None, "!", _CORE + ("map" if is_object else "seq")}:
            self._error(event, "yaml_tag", f"the tag {quote(event.tag)} is not allowed", "leave the tag out")
        self._anchors.pop(event.anchor, None)
        frame = _Frame(None, event.anchor, depth, self._values)
        if is_object:
            frame.fields = {}
        frame.step = self._put(frame.items if frame.fields is None else frame.fields)
        self._values += 1
        self._frames.append(frame)

    def _on_end(self) -> None:
        frame = self._frames.pop()
        depth = len(self._frames)
        if frame.anchor is not None:
            box = frame.items if frame.fields is None else frame.fields
            self._anchors[frame.anchor] = _Anchored(box, self._values - frame.values_before, frame.deepest - depth)
        if self._frames and self._frames[-1].deepest < frame.deepest:
            self._frames[-1].deepest = frame.deepest

    def _on_alias(self, event: Any) -> None:
        """An alias counts as all the values that it stands for."""
        self._no_key(event, "an alias as a key")
        target = self._anchors.get(event.anchor)
        if target is None:
            self._fail(event, "yaml_alias", f"the alias {quote(event.anchor)} stands for nothing written before it")
        self._values += target.values
        self._alias_values += target.values
        if self._alias_values > ALIAS_NODES_MAX:
            self._fail(event, "yaml_alias", f"the aliases stand for more than {ALIAS_NODES_MAX} values")
        deepest = len(self._frames) + target.depth
        if deepest > DEPTH_MAX:
            self._fail(event, "too_deep", f"more than {DEPTH_MAX} objects and lists inside each other")
        if self._frames:
            self._frames[-1].deepest = max(self._frames[-1].deepest, deepest)
        self._put(target.value)

    def _put(self, value: Json) -> str | int | None:
        """Hang a value into what is open; returns its key or index, None for the root."""
        if not self._frames:
            self._root = value
            return None
        frame = self._frames[-1]
        if frame.fields is None:
            frame.items.append(value)
            return len(frame.items) - 1
        key, frame.key = frame.key, None
        assert key is not None, "a member has a key"
        frame.fields[key] = value
        return key

    def _plain(self, event: Any) -> Json:
        """The value of a plain scalar by the core schema."""
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            number = int(text, 0 if text[:2] in {"0x", "0o"} else 10) if len(text) <= _INT_CHARS_MAX else INT_MAX + 1
            if not INT_MIN <= number <= INT_MAX:
                self._error(event, "number_too_large", f"the integer {quote(text)} does not fit in 64 bits", _QUOTE_IT)
            return number
        if _FLOAT.fullmatch(text) and not math.isinf(number_read := float(text)):
            return number_read
        if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            self._error(event, "number_not_finite", f"{quote(text)} is not a JSON number", _QUOTE_IT)
        return text

    def _tagged(self, event: Any) -> Json:
        """The value of a scalar with a tag: one of the core schema that says what the text says itself."""
        tag, text = event.tag, event.value
        if tag in {"!", _CORE + "str"}:
            return text
        value = self._plain(event)
        if type(value) is not _SCALAR_TAGS.get(tag):
            self._error(event, "yaml_tag", f"the tag {quote(tag)} is not allowed on {quote(text)}", "leave the tag out")
        return value

    def _no_key(self, event: Any, what: str) -> None:
        if self._frames and (frame := self._frames[-1]).fields is not None and frame.key is None:
            self._fail(event, "yaml_key", what, "keys are strings, written out")

    def _error(self, event: Any, code: str, message: str, hint: str = "") -> None:
        path = [frame.step for frame in self._frames if frame.step is not None]
        if self._frames:
            last = self._frames[-1]
            path.append(len(last.items) if last.fields is None else last.key or "")
        self._findings.error(code, message, tuple(path), hint, at=_place(event))

    def _fail(self, event: Any, code: str, message: str, hint: str = "") -> NoReturn:
        """Report a fault that ends the reading."""
        self._error(event, code, message, hint)
        raise SourceError(self._findings.all())

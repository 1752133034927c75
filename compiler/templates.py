"""Templates: text with ``{{ expression }}`` inside, and JSON values whose strings are such texts.

A text that is exactly one ``{{ expression }}`` gives the value of the expression with its type; any other text gives a
string: strings as they are, every other value as compact JSON (null as ``null``). What an expression gives is never
looked at again, so a value that contains ``{{`` stays as it is. Literal braces are written ``{{ '{{' }}``.
The end of an expression is found by reading its strings and brackets: ``{{ {'a': '}}'} }}`` works. Keys of objects
are not templates. Immutable and thread-safe, like the expressions inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import msgspec

from .cel import DEFAULT_BUDGET, EvaluationError, Expression, ExpressionError, Reference, compile_expression
from .cel.scan import find_end
from .diagnostics import Path
from .workflow import Json

MAX_RENDERED = 16 * 1024 * 1024
"""Code points of one rendered text."""
MAX_DEPTH = 200
"""Lists and objects inside each other, in a value with templates."""

_OPEN, _CLOSE = "{{", "}}"
ERRORS_MAX = 100
"""Of one value: what comes behind so many is not looked at."""
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """``parts``: literal text and expressions, in order. ``references``: of all of them, each once."""

    text: str
    parts: tuple[str | Expression, ...]
    references: tuple[Reference, ...]

    @property
    def is_constant(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)

    def render(self, context: Mapping[str, object], *, budget: int = DEFAULT_BUDGET) -> Json:
        """Expand to a value. ``budget``: steps for each expression. Raises EvaluationError."""
        if len(self.parts) == 1:
            part = self.parts[0]
            if isinstance(part, str):
                return part
            return _checked(part.evaluate(context, budget=budget), part.source)
        pieces: list[str] = []
        length = 0
        for part in self.parts:
            piece = part if isinstance(part, str) else _written(part.evaluate(context, budget=budget), part.source)
            length += len(piece)
            if length > MAX_RENDERED:
                message = f"the text becomes longer than {MAX_RENDERED:,} characters"
                raise EvaluationError("too_large", message, expression=self.text)
            pieces.append(piece)
        return "".join(pieces)


def compile_template(text: str, *, roots: frozenset[str], errors: list[ExpressionError] | None = None) -> Template:
    """Compile a text. Raises ExpressionError with the offset in ``text``.

    errors: where given, collects what is wrong with single expressions, which are left out; one that is never closed
    is raised all the same, and so is one behind ``ERRORS_MAX`` others.
    """
    parts: list[str | Expression] = []
    position = 0
    while True:
        start = text.find(_OPEN, position)
        if start < 0:
            break
        end = _find_close(text, start)
        if start > position:
            parts.append(text[position:start])
        position = end + len(_CLOSE)
        try:
            parts.append(_compile_part(text, start + len(_OPEN), end, roots))
        except ExpressionError as error:
            if errors is None or len(errors) >= ERRORS_MAX:
                raise
            errors.append(error)
    if position < len(text) or not parts:
        parts.append(text[position:])
    return Template(text, tuple(parts), _merged(part.references for part in parts if isinstance(part, Expression)))


def _find_close(text: str, start: int) -> int:
    end = find_end(text, start + len(_OPEN))
    if end < 0:
        raise ExpressionError(
            "expression_syntax",
            "'{{' is never closed",
            offset=start,
            hint="end the expression with '}}'; two literal braces are written {{ '{{' }}",
        )
    return end


def _compile_part(text: str, start: int, end: int, roots: frozenset[str]) -> Expression:
    try:
        return compile_expression(text[start:end], roots=roots)
    except ExpressionError as error:
        offset = start + error.offset if error.offset >= 0 else start
        raise ExpressionError(error.code, error.message, offset=offset, hint=error.hint) from None


def _written(value: Json, source: str) -> str:
    if isinstance(value, str):
        return str(_checked(value, source))
    try:
        return _encode(value).decode()
    except (UnicodeEncodeError, OverflowError, RecursionError, TypeError, msgspec.MsgspecError) as error:
        raise EvaluationError("invalid_argument", f"the value has no JSON text: {error}", expression=source) from None


def _checked(value: Json, source: str) -> Json:
    """Refuse a string that is not Unicode: it could not be stored or sent."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            message = "the text holds half of a surrogate pair and is not valid Unicode"
            raise EvaluationError("invalid_argument", message, expression=source) from None
    return value


@dataclass(frozen=True, slots=True)
class _Object:
    """An object with a template somewhere below. ``entries``: every key, constant or not, in order."""

    entries: tuple[tuple[str, _Part], ...]


@dataclass(frozen=True, slots=True)
class _List:
    items: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Constant:
    value: Json


_Part: TypeAlias = Template | _Object | _List | _Constant


@dataclass(frozen=True, slots=True, eq=False)
class ValueTemplate:
    """A JSON value with templates. ``references``: of all of them, each once, in document order."""

    references: tuple[Reference, ...]
    _part: _Part = field(repr=False)

    @property
    def is_constant(self) -> bool:
        """Tell that no string holds an expression, not even one that reads nothing."""
        return isinstance(self._part, _Constant)

    def render(self, context: Mapping[str, object], *, budget: int = DEFAULT_BUDGET) -> Json:
        """Expand every template. The result shares its constant parts with the value compiled: read it only.

        ``budget``: steps for each expression. Raises EvaluationError.
        """
        return _render(self._part, context, budget)


def compile_value(value: Json, *, roots: frozenset[str], errors: list[ExpressionError] | None = None) -> ValueTemplate:
    """Compile every string of a JSON value that holds ``{{``.

    errors: where given, collects what is wrong, up to a bound, each with its ``path`` in the value, and the strings
    concerned count as constants; otherwise the first one is raised.
    """
    found: list[tuple[Reference, ...]] = []
    collected: list[ExpressionError] = []
    part = _compile(value, (), _Work(roots, found, collected))
    if errors is not None:
        errors.extend(collected)
    elif collected:
        raise collected[0]
    return ValueTemplate(_merged(found), part)


@dataclass(frozen=True, slots=True)
class _Work:
    roots: frozenset[str]
    references: list[tuple[Reference, ...]]
    errors: list[ExpressionError]


def _compile(value: Json, path: Path, work: _Work) -> _Part:
    if isinstance(value, str):
        return _compile_text(value, path, work)
    if isinstance(value, (dict, list)) and len(path) >= MAX_DEPTH:
        message = f"lists and objects are nested deeper than {MAX_DEPTH} levels"
        work.errors.append(ExpressionError("expression_too_deep", message, path=path))
    elif isinstance(value, dict):
        entries = cast("dict[str, Json]", value).items()
        parts = tuple((key, _compile(item, (*path, key), work)) for key, item in entries)
        if any(not isinstance(part, _Constant) for _, part in parts):
            return _Object(parts)
    elif isinstance(value, list):
        items = cast("Sequence[Json]", value)
        listed = tuple(_compile(item, (*path, index), work) for index, item in enumerate(items))
        if any(not isinstance(part, _Constant) for part in listed):
            return _List(listed)
    return _Constant(cast("Json", value))


def _compile_text(text: str, path: Path, work: _Work) -> _Part:
    if _OPEN not in text or len(work.errors) > ERRORS_MAX:
        return _Constant(text)
    errors: list[ExpressionError] = []
    template: Template | None = None
    try:
        template = compile_template(text, roots=work.roots, errors=errors)
        work.references.append(template.references)
    except ExpressionError as unclosed:
        errors.append(unclosed)
    for each in errors:
        each.path = path
    work.errors.extend(errors)
    return _Constant(text) if template is None or errors else template


def _render(part: _Part, context: Mapping[str, object], budget: int) -> Json:
    if isinstance(part, _Constant):
        return part.value
    if isinstance(part, Template):
        return part.render(context, budget=budget)
    if isinstance(part, _Object):
        return {key: _render(item, context, budget) for key, item in part.entries}
    return [_render(item, context, budget) for item in part.items]


def _merged(groups: Iterable[tuple[Reference, ...]]) -> tuple[Reference, ...]:
    return tuple(dict.fromkeys(reference for group in groups for reference in group))

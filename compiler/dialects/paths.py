"""Paths and templates of the dialects -> CEL.

The dialects write ``steps.feed-discovery.output.items.0``; in CEL an id with ``-`` needs an index. Only plain dotted
paths are rewritten; anything else inside ``{{ }}`` is taken to be CEL already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from ..cel import ExpressionError
from ..cel.scan import find_end
from ..workflow import Json

ROOTS = frozenset({"input", "steps", "outputs", "inputs", "tasks", "run", "item", "index", "loop", "output"})
_DOTTED = re.compile(r"[A-Za-z_][\w]*(?:\.[\w-]+)*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\]|\[\"[^\"\\]*\"\])*", re.ASCII)
_WORD = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?<![\w.])[A-Za-z_]\w*", re.ASCII)


def is_dotted(text: str) -> bool:
    return _DOTTED.fullmatch(text) is not None


def dotted_to_cel(text: str) -> str:
    """``steps.a-b.output.0`` -> ``steps["a-b"].output[0]``; anything that is no dotted path stays as it is."""
    text = text.strip()
    if not is_dotted(text):
        return text
    first, *rest = text.split(".")
    return first + "".join(_select(step) for step in rest)


def _select(step: str) -> str:
    if _NAME.fullmatch(step):
        return f".{step}"
    return f"[{step}]" if step.isdigit() else f'["{step}"]'


def rewrite_templates(value: Json, rewrite: Callable[[str], str]) -> Json:
    """Rewrite the inside of every ``{{ }}`` in all strings of a value."""
    if isinstance(value, str):
        return _rewrite_text(value, rewrite)
    if isinstance(value, dict):
        fields = cast("dict[str, Json]", value)
        return {name: rewrite_templates(below, rewrite) for name, below in fields.items()}
    if isinstance(value, list):
        return [rewrite_templates(below, rewrite) for below in cast("list[Json]", value)]
    return value


def _rewrite_text(text: str, rewrite: Callable[[str], str]) -> str:
    """What follows a ``{{`` that is no expression, or never closed, is left: compiling the template reports it."""
    pieces: list[str] = []
    position = 0
    while (start := text.find("{{", position)) >= 0 and (end := _end(text, start + 2)) >= 0:
        source = text[start + 2 : end]
        pieces += [text[position:start], "{{ ", rewrite(source.strip()), " }}"]
        position = end + 2
    return "".join([*pieces, text[position:]])


def _end(text: str, start: int) -> int:
    """Where the ``}}`` of an expression is, -1 where there is none."""
    try:
        return find_end(text, start)
    except ExpressionError:
        return -1


def with_variables(source: str, variables: Mapping[str, str]) -> str:
    """Put the expressions of variables in their place: ``query.text`` -> ``steps.a.output.query.text``.

    A variable that is no path is put in parentheses. Names after a dot and in string literals are no variables.
    """
    if source in variables:
        return variables[source]
    if is_dotted(source):
        source = dotted_to_cel(source)

    def put(found: re.Match[str]) -> str:
        expression = variables.get(found[0])
        if expression is None:
            return found[0]
        return expression if _is_path(expression) else f"({expression})"

    return _WORD.sub(put, source)


def _is_path(expression: str) -> bool:
    return _PATH.fullmatch(expression) is not None

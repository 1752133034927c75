"""Offered tools: those of an agent, under names that every provider takes, and what the model asks of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ...sdk.outcomes.step_context import StepError
from ...sdk.secrets.redaction import REDACTOR
from ..models.request import ToolCall, ToolOffer
from ..tools.offer import CallableTool, read_arguments

NAME_CHARS_MAX = 64
ERROR_CHARS_MAX = 2_000


class OfferedTools:
    """``tools``: by the names that the model knows, in the order of the document."""

    def __init__(self, tools: Sequence[CallableTool]) -> None:
        self._tools: dict[str, CallableTool] = {}
        for tool in tools:
            self._tools[_free_name(tool.name, self._tools)] = tool
        self._by_own_name = {tool.name: tool for tool in tools}

    async def offers(self) -> tuple[ToolOffer, ...]:
        """Return what the model is told. Raises StepError, and what asking a tool for it raises."""
        made: list[ToolOffer] = []
        for name, tool in self._tools.items():
            offer = await tool.offer()
            made.append(ToolOffer(name=name, description=offer.description, schema=offer.schema))
        return tuple(made)

    def asked(self, call: ToolCall) -> CallableTool | None:
        """Return the tool that the model means, None where there is none."""
        return self._tools.get(call.name) or self._by_own_name.get(call.name)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return the arguments that a model has written. Raises StepError."""
    try:
        return read_arguments(call.arguments.encode() or b"{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise StepError("INPUT_INVALID", f"the arguments are no JSON: {error}") from error


def shown_arguments(call: ToolCall) -> Any:
    """The same for people: what is no JSON as the text that it is."""
    try:
        return msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return call.arguments


def told_error(error: BaseException) -> str:
    """Return what a model is told of a failure: its kind and its text, without secrets."""
    kind = getattr(error, "type", "") or type(error).__name__
    return REDACTOR.redact(f"{kind}: {error}")[:ERROR_CHARS_MAX]


def _free_name(name: str, taken: dict[str, CallableTool]) -> str:
    """Letters, digits, ``_`` and ``-``, at most 64 of them, and no other tool's."""
    base = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:NAME_CHARS_MAX]
    free, number = base, 2
    while free in taken:
        free = f"{base[: NAME_CHARS_MAX - 1 - len(str(number))]}_{number}"
        number += 1
    return free

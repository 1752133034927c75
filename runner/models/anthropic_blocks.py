"""Blocks: the content of an answer of Anthropic's, whole or as it comes. Pure.

Blocks that are no text are kept as they came: what a model has thought before it asked for a tool is signed, and must
come back with the result, unchanged and in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from .request import ToolCall
from .tool_wire import ANTHROPIC, anthropic_call, input_of
from .wire import read_value

TEXT = "text"
TOOL_USE = "tool_use"
_WHAT = "a block of the answer of anthropic"
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
"""Of deltas: the field of their block that they go on with, by the same name in both."""
_ARGUMENTS = "input_json_delta"


class _Block(msgspec.Struct):
    """Text, or a call of a tool with its ``id``, ``name`` and ``input``; others are left alone."""

    type: str = ""
    text: str | None = None
    id: str = ""
    name: str = ""
    input: Any = None


class Delta(msgspec.Struct):
    """The next piece of a block, or what is said about the message at its end."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


def text_in(blocks: Iterable[dict[str, Any]]) -> str:
    """Return the text of all blocks that are text. Raises StepError (OUTPUT_INVALID)."""
    return "".join(block.text or "" for block in map(_read, blocks) if block.type == TEXT)


def calls_in(blocks: Iterable[dict[str, Any]]) -> tuple[ToolCall, ...]:
    """Return the calls of tools, in order. Raises StepError (OUTPUT_INVALID)."""
    return tuple(anthropic_call(each.id, each.name, each.input) for each in map(_read, blocks) if each.type == TOOL_USE)


def kept_of(blocks: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the turn has to be when it is sent again; nothing where its text says all.

    A text without a word is left out: the provider gives such, and takes none.
    """
    if all(block.get("type") == TEXT for block in blocks):
        return {}
    content = [each for each in blocks if each.get("type") != TEXT or str(each.get("text", "")).strip()]
    return {ANTHROPIC: {"content": content}}


def _read(block: dict[str, Any]) -> _Block:
    return read_value(block, _Block, _WHAT)


class BlockPieces:
    """Puts blocks together from the pieces of a stream, each by its place."""

    def __init__(self) -> None:
        self._begun: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def begin(self, place: int, block: dict[str, Any]) -> str:
        """Take the beginning of a block and return the text in it. Raises StepError (OUTPUT_INVALID)."""
        self._begun[place] = block
        return text_in([block])

    def take(self, place: int, delta: Delta) -> str:
        """Take a piece and return the text in it."""
        field = _PIECES.get(delta.type)
        piece = delta.partial_json if delta.type == _ARGUMENTS else getattr(delta, field) if field else None
        if piece:
            self._pieces.setdefault((place, delta.type), []).append(piece)
        return piece or "" if field == TEXT else ""

    def blocks(self) -> list[dict[str, Any]]:
        """Return what has come, in order; arguments that are no JSON object are none."""
        places = sorted({*self._begun, *(place for place, _ in self._pieces)})
        return [self._block(place) for place in places]

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls, with their arguments as the model wrote them."""
        made: list[ToolCall] = []
        for place, block in sorted(self._begun.items()):
            if block.get("type") == TOOL_USE:
                (call,) = calls_in([block])
                made.append(msgspec.structs.replace(call, arguments=self._joined(place, _ARGUMENTS)))
        return tuple(made)

    def _block(self, place: int) -> dict[str, Any]:
        made = dict(self._begun.get(place, {"type": TEXT}))
        for kind, field in _PIECES.items():
            if (place, kind) in self._pieces:
                made[field] = str(made.get(field) or "") + self._joined(place, kind)
        if made.get("type") == TOOL_USE:
            made["input"] = input_of(self._joined(place, _ARGUMENTS))
        return made

    def _joined(self, place: int, kind: str) -> str:
        return "".join(self._pieces.get((place, kind), ()))

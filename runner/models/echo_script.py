"""The script of the provider echo where tools are offered: what it asks for, turn by turn. Pure.

``echo`` is a list then, with an item for each turn, the last one for all that follow: a text or any JSON value that is
the answer, or an object with ``tools``, calls of ``{name, arguments}``, and perhaps a ``text``. Without it the lines
``call: NAME {arguments}`` of the prompt are called in the first turn, and the results are the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from .request import ModelRequest, ToolCall, text_of

_CALL = re.compile(r"^call: ([A-Za-z0-9_.-]+) ?(\{.*\})?$", re.MULTILINE)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Scripted:
    """One turn."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def read_script(request: ModelRequest) -> Scripted | None:
    """Return the turn that is due, None where nothing speaks of tools."""
    if not request.tools:
        return None
    turn = sum(each.role == "assistant" for each in request.messages)
    echo: object = request.echo
    if isinstance(echo, list) and echo:
        script = cast("list[Any]", echo)
        return _turn(script[min(turn, len(script) - 1)], turn)
    if echo is not None:
        return None
    if turn:
        results = [text_of(each.content) for each in request.messages if each.role == "tool"]
        return Scripted("\n".join(results)) if results else None
    asked = next((text_of(each.content) for each in reversed(request.messages) if each.role == "user"), "")
    found = [(name, arguments or "{}") for name, arguments in _CALL.findall(asked)]
    return Scripted("", _calls(found, turn)) if found else None


def _turn(item: Any, turn: int) -> Scripted:
    fields = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    if not isinstance(fields.get("tools"), list):
        return Scripted(_text(item))
    asked = cast("list[dict[str, Any]]", fields["tools"])
    calls = [(str(each.get("name", "")), _text(each.get("arguments", {}))) for each in asked]
    return Scripted(_text(fields.get("text", "")), _calls(calls, turn))


def _calls(asked: list[tuple[str, str]], turn: int) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(id=f"call_{turn + 1}_{at}", name=name, arguments=arguments)
        for at, (name, arguments) in enumerate(asked)
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()

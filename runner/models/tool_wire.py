"""Tools in the wire formats: how they are offered, how a model asks for them, and how it is told what they gave. Pure.

https://platform.openai.com/docs/guides/function-calling and https://docs.anthropic.com/en/docs/build-with-claude/tool-use
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from .request import Message, ToolCall, ToolOffer, text_of

_encode = msgspec.json.Encoder().encode


class OpenAiFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class OpenAiCall(msgspec.Struct):
    """A call, or the next piece of one: ``index`` says of which."""

    index: int = 0
    id: str | None = None
    function: OpenAiFunction | None = None


class CallPieces:
    """Puts calls together from the pieces of a stream, each by its place."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def take(self, place: int, *, id: str | None = None, name: str | None = None, arguments: str | None = None) -> None:
        known = self._calls.get(place, ToolCall(id="", name="", arguments=""))
        self._calls[place] = ToolCall(
            id=id or known.id, name=known.name + (name or ""), arguments=known.arguments + (arguments or "")
        )

    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(self._calls[place] for place in sorted(self._calls))


def openai_tools(offers: Sequence[ToolOffer]) -> list[dict[str, Any]] | None:
    """Return them as a body has them; None where there are none."""
    return [
        {
            "type": "function",
            "function": {
                "name": offer.name,
                **({"description": offer.description} if offer.description else {}),
                "parameters": offer.schema,
            },
        }
        for offer in offers
    ] or None


def openai_turn(turn: Message) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.tool_call_id, "content": turn.content}
    if not turn.tool_calls:
        return {"role": turn.role, "content": turn.content}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in turn.tool_calls
    ]
    return {"role": turn.role, "content": turn.content or None, "tool_calls": calls}


def openai_calls(said: Iterable[OpenAiCall] | None) -> tuple[ToolCall, ...]:
    """Return the calls of a whole answer."""
    pieces = CallPieces()
    for place, call in enumerate(said or ()):
        take_openai(pieces, call, place)
    return pieces.calls()


def take_openai(pieces: CallPieces, call: OpenAiCall, place: int) -> None:
    function = call.function or OpenAiFunction()
    pieces.take(place, id=call.id, name=function.name, arguments=function.arguments)


def anthropic_tools(offers: Sequence[ToolOffer]) -> list[dict[str, Any]] | None:
    """Return them as a body has them; None where there are none."""
    return [
        {
            "name": offer.name,
            **({"description": offer.description} if offer.description else {}),
            "input_schema": offer.schema,
        }
        for offer in offers
    ] or None


def anthropic_turns(turns: Iterable[Message]) -> list[dict[str, Any]]:
    """Results that follow one another are one turn of the user: all of those that an answer waits for come at once."""
    made: list[dict[str, Any]] = []
    is_open = False
    for turn in turns:
        if turn.role == "tool":
            if not is_open:
                made.append({"role": "user", "content": []})
            cast("list[Any]", made[-1]["content"]).append(_result(turn))
        else:
            made.append({"role": turn.role, "content": _blocks(turn) if turn.tool_calls else turn.content})
        is_open = turn.role == "tool"
    return made


def anthropic_call(id: str, name: str, given: object) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=_encode(given).decode())


def _blocks(turn: Message) -> list[dict[str, Any]]:
    said = text_of(turn.content)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": said}] if said else []
    return [*blocks, *({"type": "tool_use", "id": c.id, "name": c.name, "input": _input(c)} for c in turn.tool_calls)]


def _input(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object, which is all that the format takes; what was none is none."""
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _result(turn: Message) -> dict[str, Any]:
    told = {"type": "tool_result", "tool_use_id": turn.tool_call_id, "content": turn.content}
    return {**told, "is_error": True} if turn.is_error else told

"""Tools in the wire formats: how they are offered, how a model asks for them, and how it is told what they gave. Pure.

https://platform.openai.com/docs/guides/function-calling and https://docs.anthropic.com/en/docs/build-with-claude/tool-use
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from .request import Message, ToolCall, ToolOffer, text_of

OPENAI, ANTHROPIC = "openai", "anthropic"
_encode = msgspec.json.Encoder().encode


class OpenAiFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class OpenAiCall(msgspec.Struct):
    """A call, or the next piece of one: ``index`` says of which."""

    index: int = 0
    id: str | None = None
    function: OpenAiFunction | None = None
    extra_content: Any = None
    """Of Gemini: how it came to the call, signed."""


class _Begun:
    """A call of which pieces have come."""

    def __init__(self) -> None:
        self.id = ""
        self.kept: dict[str, Any] = {}
        self.names: list[str] = []
        self.arguments: list[str] = []


class CallPieces:
    """Puts calls together from the pieces of a stream, each by its place.

    Another id at the same place is another call: there are servers that say one place for all.
    """

    def __init__(self) -> None:
        self._calls: list[_Begun] = []
        self._at: dict[int, _Begun] = {}

    def take(self, place: int, call: OpenAiCall) -> None:
        known = self._at.get(place)
        if known is None or (call.id and known.id and call.id != known.id):
            known = self._at[place] = _Begun()
            self._calls.append(known)
        function = call.function or OpenAiFunction()
        known.id = call.id or known.id
        known.names.append(function.name or "")
        known.arguments.append(function.arguments or "")
        if call.extra_content is not None:
            known.kept = {"extra_content": call.extra_content}

    def calls(self) -> tuple[ToolCall, ...]:
        """Return them in the order of their beginnings."""
        return tuple(
            ToolCall(id=each.id, name="".join(each.names), arguments="".join(each.arguments), kept=each.kept)
            for each in self._calls
        )


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
    kept = turn.kept.get(OPENAI, {})
    if not turn.tool_calls:
        return {"role": turn.role, "content": turn.content, **kept}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}, **call.kept}
        for call in turn.tool_calls
    ]
    return {"role": turn.role, "content": turn.content or None, "tool_calls": calls, **kept}


def openai_calls(said: Iterable[OpenAiCall] | None) -> tuple[ToolCall, ...]:
    """Return the calls of a whole answer."""
    pieces = CallPieces()
    for place, call in enumerate(said or ()):
        pieces.take(place, call)
    return pieces.calls()


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
    """Results that follow one another are one turn of the user: all of those that an answer waits for come at once.

    A turn of the model in which it has said nothing is left out: the provider takes none.
    """
    made: list[dict[str, Any]] = []
    is_open = False
    for turn in turns:
        if turn.role == "tool":
            if not is_open:
                made.append({"role": "user", "content": []})
            cast("list[Any]", made[-1]["content"]).append(_result(turn))
        elif turn.role != "assistant" or turn.tool_calls or turn.kept or text_of(turn.content).strip():
            content = _blocks(turn) if turn.tool_calls else turn.content
            made.append({"role": turn.role, "content": content, **turn.kept.get(ANTHROPIC, {})})
        is_open = turn.role == "tool"
    return made


def anthropic_call(id: str, name: str, given: object) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=_encode(given).decode())


def _blocks(turn: Message) -> list[dict[str, Any]]:
    said = text_of(turn.content)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": said}] if said.strip() else []
    return [
        *blocks,
        *({"type": "tool_use", "id": c.id, "name": c.name, "input": input_of(c.arguments)} for c in turn.tool_calls),
    ]


def input_of(arguments: str) -> dict[str, Any]:
    """Return arguments as an object, which is all that the format takes; what was none is none."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


def _result(turn: Message) -> dict[str, Any]:
    told = {"type": "tool_result", "tool_use_id": turn.tool_call_id, "content": turn.content}
    return {**told, "is_error": True} if turn.is_error else told

"""The connector of OpenAI's responses: newer models take tools by it, and some are asked by it alone. Pure.

https://platform.openai.com/docs/api-reference/responses
Nothing is stored there: what a model has thought comes back encrypted, and is sent again with what its tools gave.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard, cast

import msgspec

from ...compiler.model_names import said_in_chat_only, speaks_responses
from ...sdk.http.server_events import ServerEvent
from ...sdk.spending.usage import Usage
from ...sdk.step_error import StepError
from .answer import ModelAnswer, StopReason
from .openai import STATUSES, OpenAi, json_mode, system_of
from .request import LIMITS, Message, ModelRequest, ToolCall, ToolOffer, text_of
from .wire import AnswerStream, ToldFailure, no_answer, read_json, read_value, told_failure, with_extra

RESPONSES = "responses"
REASONING = "reasoning.encrypted_content"
MESSAGE, CALL = "message", "function_call"
_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_LOST = frozenset({"failed", "cancelled"})
_STOPS = {"max_output_tokens": StopReason.LENGTH, "content_filter": StopReason.REFUSAL}


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    status: str | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    error: _Error | None = None
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str
    delta: Any = None
    item: Any = None
    response: Any = None
    message: str | None = None
    code: str | int | None = None
    error: _Error | None = None
    """What others say in the event itself."""


class _Part(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Said(msgspec.Struct):
    content: list[_Part] | None = None


class _Call(msgspec.Struct):
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class Responses:
    """``Connector`` for OpenAI's responses."""

    key_name = OpenAi.key_name

    def url(self, base_url: str) -> str:
        return f"{base_url.rstrip('/')}/responses"

    def headers(self, key: str) -> dict[str, str]:
        return OpenAi().headers(key)

    def body(self, request: ModelRequest) -> dict[str, Any]:
        """What ``extra`` says in the words of chat completions is said in those of this format.

        Raises StepError (CONFIG_INVALID) for what there are no words for.
        """
        _check_sayable(request)
        extra = dict(request.extra)
        limits = [extra.pop(name) for name in LIMITS if name in extra]
        mode = extra.pop("response_format", None) or json_mode(request)
        system = system_of(request)
        head = [{"role": "system", "content": system}] if system else []
        body: dict[str, Any] = {
            "model": request.model,
            "input": [*head, *(item for turn in request.messages for item in _items(turn))],
            "tools": [_tool(offer) for offer in request.tools] or None,
            "tool_choice": _unfolded(extra.pop("tool_choice", None), "function"),
            "reasoning": _with_more({"effort": extra.pop("reasoning_effort", None)}, extra, "reasoning"),
            "temperature": request.temperature,
            "max_output_tokens": limits[0] if limits else request.max_tokens,
            "top_p": request.top_p,
            "text": _with_more(
                {"format": _unfolded(mode, "json_schema"), "verbosity": extra.pop("verbosity", None)}, extra, "text"
            ),
            "store": False,
            "include": _included(extra.pop("include", [])),
            "stream": True if request.stream else None,
        }
        return with_extra(body, msgspec.structs.replace(request, extra=extra))

    def read(self, request: ModelRequest, content: bytes) -> ModelAnswer:
        found = read_json(content, _Response, "the answer of openai")
        if found.output is None and found.error is None:
            raise no_answer(content, "output")
        return _answer(request, found)

    def stream(self) -> AnswerStream:
        return _Stream()


class _Stream:
    def __init__(self) -> None:
        self._response = _Response()
        self._items: list[dict[str, Any]] = []
        self.is_complete = False

    def take(self, event: ServerEvent) -> str:
        found = read_json(event.data, _Event, "a piece of the answer of openai")
        if found.type == "error":
            raise _failure(_Response(error=found.error or _Error(message=found.message, code=found.code)))
        if found.type == "response.output_item.done" and isinstance(found.item, dict):
            self._items.append(found.item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        if found.type in _ENDS:
            self._response = read_value(found.response, _Response, "the answer of openai")
            self.is_complete = True
        return found.delta if found.type in _DELTAS and isinstance(found.delta, str) else ""

    def answer(self, request: ModelRequest) -> ModelAnswer:
        """Of items that the end does not tell again those count that came before it."""
        self._response.output = self._response.output or self._items
        return _answer(request, self._response)


def _answer(request: ModelRequest, found: _Response) -> ModelAnswer:
    """Raises ToldFailure for a response that has failed, StepError (OUTPUT_INVALID) for items that cannot be read."""
    if found.error is not None or found.status in _LOST:
        raise _failure(found)
    items = found.output or []
    parts = [part for item in items if item.get("type") == MESSAGE for part in _said(item)]
    calls = tuple(_call(item) for item in items if item.get("type") == CALL)
    said = "".join(part.text or part.refusal or "" for part in parts)
    return ModelAnswer(
        provider=request.provider,
        model=found.model or request.model,
        text=said,
        usage=_counted(found.usage or _Usage()),
        is_usage_told=_is_told(found.usage),
        stop_reason=_stop_reason(found, parts, calls),
        tool_calls=calls,
        kept={RESPONSES: {"output": items}} if any(item.get("type") != MESSAGE for item in items) else {},
    )


def _failure(found: _Response) -> ToldFailure:
    error = found.error or _Error(message=f"the response is {found.status}, and nothing says why")
    usage = _counted(found.usage) if _is_told(found.usage) else None
    kind, has_said = error.type or "", bool(found.output)
    return told_failure(kind, error.message or "", error.code or "", STATUSES, usage, has_said=has_said)


def _is_told(usage: _Usage | None) -> TypeGuard[_Usage]:
    return usage is not None and usage.output_tokens is not None


def _stop_reason(found: _Response, parts: Iterable[_Part], calls: tuple[ToolCall, ...]) -> StopReason:
    if found.incomplete_details is not None:
        return _STOPS.get(found.incomplete_details.reason or "", StopReason.LENGTH)
    if calls:
        return StopReason.TOOLS
    return StopReason.REFUSAL if any(part.refusal for part in parts) else StopReason.END


def _said(item: dict[str, Any]) -> list[_Part]:
    return read_value(item, _Said, "a message of openai").content or []


def _call(item: dict[str, Any]) -> ToolCall:
    call = read_value(item, _Call, "a call of openai")
    return ToolCall(id=call.call_id, name=call.name, arguments=call.arguments)


def _counted(usage: _Usage) -> Usage:
    details = usage.input_tokens_details or _Details()
    return Usage(
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cached_tokens=details.cached_tokens or 0,
        written_tokens=details.cache_write_tokens or 0,
    )


def _check_sayable(request: ModelRequest) -> None:
    """OpenAI would refuse it, and not say what to do."""
    names = said_in_chat_only({**request.extra, "stop": request.extra.get("stop", request.stop)})
    if names:
        tools = " with tools" if request.tools and not speaks_responses(request.model, has_tools=False) else ""
        text = f"{request.model!r}{tools} is asked by OpenAI's responses, which do not know {', '.join(names)}"
        raise StepError("CONFIG_INVALID", f"{text}: leave it out, or take a model of chat completions")


def _with_more(ours: dict[str, Any], extra: dict[str, Any], name: str) -> Any:
    """Take a field out of ``extra``: what it says goes before what is ours, and beside it."""
    said: dict[str, Any] = {key: value for key, value in ours.items() if value is not None}
    more = extra.pop(name, said)
    return ({**said, **_object(more)} or None) if isinstance(more, dict) else more


def _included(more: Any) -> Any:
    """What a model has thought is always wanted: it is not kept there."""
    if not isinstance(more, list):
        return more
    return [REASONING, *(each for each in cast("list[Any]", more) if each != REASONING)]


def _unfolded(value: Any, inner: str) -> Any:
    """What chat completions put into a field of its own stands beside the others here."""
    fields = _object(value)
    within = _object(fields.get(inner))
    return {name: each for name, each in fields.items() if name != inner} | within if within else value


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _tool(offer: ToolOffer) -> dict[str, Any]:
    """Not strict: that takes only schemas of which every field has to be there."""
    described = {"description": offer.description} if offer.description else {}
    return {"type": "function", "name": offer.name, **described, "parameters": offer.schema, "strict": False}


def _items(turn: Message) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [{"type": "function_call_output", "call_id": turn.tool_call_id, "output": text_of(turn.content)}]
    if RESPONSES in turn.kept:
        return cast("list[dict[str, Any]]", turn.kept[RESPONSES]["output"])
    said = [{"role": turn.role, "content": _content(turn)}] if turn.content or not turn.tool_calls else []
    calls = ({"type": CALL, "call_id": c.id, "name": c.name, "arguments": c.arguments} for c in turn.tool_calls)
    return [*said, *calls]


def _content(turn: Message) -> str | list[dict[str, Any]]:
    """Parts that are written for chat completions in the words of this format; others as they are."""
    if isinstance(turn.content, str):
        return turn.content
    text = "input_text" if turn.role == "user" else "output_text"
    return [_part(part, text) for part in turn.content]


def _part(part: dict[str, Any], text: str) -> dict[str, Any]:
    if part.get("type") == "text":
        return {**part, "type": text}
    link = part.get("image_url")
    if part.get("type") == "image_url" and isinstance(link, dict):
        found: dict[str, Any] = {**link}  # pyright: ignore[reportUnknownVariableType]
        return {"type": "input_image", "image_url": found.pop("url", ""), **found}
    return part

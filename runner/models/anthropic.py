"""The connector of Anthropic's messages. Pure.

https://docs.anthropic.com/en/api/messages and .../messages-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...sdk.spending.usage import Usage
from .answer import ModelAnswer, StopReason
from .events import ServerEvent
from .request import ModelRequest, ToolCall
from .router import DEFAULTS
from .tool_wire import CallPieces, anthropic_call, anthropic_tools, anthropic_turns
from .wire import AnswerStream, in_stream_error, json_words, no_answer, read_json, with_extra, with_words

VERSION = "2023-06-01"
TOOL_USE = "tool_use"
_STOPS = {
    "end_turn": StopReason.END,
    "pause_turn": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP,
    "tool_use": StopReason.TOOLS,
    "refusal": StopReason.REFUSAL,
}
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class _Usage(msgspec.Struct):
    """What the provider's cache has taken in or given out is not counted in ``input_tokens``."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    def over(self, before: _Usage | None) -> _Usage:
        """Return the later counts, and the earlier ones where these say nothing."""
        if before is None:
            return self
        return _Usage(
            *(
                getattr(before, name) if getattr(self, name) is None else getattr(self, name)
                for name in self.__struct_fields__
            )
        )

    @property
    def counted(self) -> Usage:
        read, kept = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        return Usage(
            input_tokens=(self.input_tokens or 0) + kept + read,
            output_tokens=self.output_tokens or 0,
            cached_tokens=read,
        )


class _Block(msgspec.Struct):
    """Text, or a call of a tool with its ``id``, ``name`` and ``input``; others are left alone."""

    type: str = ""
    text: str | None = None
    id: str = ""
    name: str = ""
    input: Any = None


class _Message(msgspec.Struct):
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Delta(msgspec.Struct):
    """The next piece of a block, or what is said about the message at its end."""

    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class Anthropic:
    """``Connector`` for Anthropic and whoever speaks its format."""

    key_name = "ANTHROPIC_API_KEY"

    def url(self, base_url: str) -> str:
        return f"{base_url.rstrip('/').removesuffix('/v1')}/v1/messages"

    def headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}

    def body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens or DEFAULTS["anthropic"].max_tokens,
            "system": request.system or None,
            "messages": _messages(request),
            "tools": anthropic_tools(request.tools),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_sequences": list(request.stop) or None,
            "stream": True if request.stream else None,
        }
        return with_extra(body, request)

    def read(self, request: ModelRequest, content: bytes) -> ModelAnswer:
        found = read_json(content, _Message, "the answer of anthropic")
        if found.content is None:
            raise no_answer(content, "content")
        calls = (anthropic_call(each.id, each.name, each.input) for each in found.content if each.type == TOOL_USE)
        return _answer(request, found, tuple(calls))

    def stream(self) -> AnswerStream:
        return _Stream()


class _Stream:
    def __init__(self) -> None:
        self._message = _Message()
        self._pieces: list[str] = []
        self._calls = CallPieces()
        self.is_complete = False

    def take(self, event: ServerEvent) -> str:
        found = read_json(event.data, _Event, "a piece of the answer of anthropic")
        if found.type == "error":
            error = found.error or _Error()
            raise in_stream_error(error.type, error.message, _STATUSES)
        message = found.message if found.type == "message_start" else None
        if message is not None:
            self._message.model, self._message.usage = message.model, message.usage
        if found.usage is not None:
            self._message.usage = found.usage.over(self._message.usage)
        if found.type == "message_stop":
            self.is_complete = True
        if found.delta is not None and found.delta.stop_reason is not None:
            self._message.stop_reason, self.is_complete = found.delta.stop_reason, True
        piece = _text(found.content_block) if found.type == "content_block_start" else ""
        if found.type == "content_block_delta" and found.delta is not None and found.delta.type == "text_delta":
            piece = found.delta.text or ""
        self._take_call(found)
        self._pieces.append(piece)
        return piece

    def _take_call(self, found: _Event) -> None:
        block, delta = found.content_block, found.delta
        if found.type == "content_block_start" and block is not None and block.type == TOOL_USE:
            self._calls.take(found.index, id=block.id, name=block.name)
        if delta is not None and delta.type == "input_json_delta":
            self._calls.take(found.index, arguments=delta.partial_json)

    def answer(self, request: ModelRequest) -> ModelAnswer:
        self._message.content = [_Block(type="text", text="".join(self._pieces))]
        return _answer(request, self._message, self._calls.calls())


def _answer(request: ModelRequest, message: _Message, calls: tuple[ToolCall, ...]) -> ModelAnswer:
    return ModelAnswer(
        provider=request.provider,
        model=message.model or request.model,
        text="".join(map(_text, message.content or ())),
        usage=Usage() if message.usage is None else message.usage.counted,
        is_usage_told=message.usage is not None and message.usage.output_tokens is not None,
        stop_reason=_STOPS.get(message.stop_reason or "", StopReason.END),
        tool_calls=calls,
    )


def _text(block: _Block | None) -> str:
    return block.text or "" if block is not None and block.type == "text" else ""


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    """The turns; what is wanted of JSON is said behind the last one of the user."""
    made = anthropic_turns(request.messages)
    last = next((at for at in range(len(made) - 1, -1, -1) if made[at]["role"] == "user"), None)
    if request.wants_json and last is not None:
        made[last]["content"] = with_words(made[last]["content"], json_words(request))
    return made

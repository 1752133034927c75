"""The connector of Anthropic's messages. Pure.

https://docs.anthropic.com/en/api/messages and .../messages-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...sdk.http.server_events import ServerEvent
from ...sdk.spending.usage import Usage
from .answer import ModelAnswer, StopReason
from .anthropic_blocks import BlockPieces, Delta, calls_in, kept_of, text_in
from .defaults import defaults_of
from .request import ModelRequest, ToolCall
from .tool_wire import anthropic_tools, anthropic_turns
from .wire import AnswerStream, ToldFailure, json_words, no_answer, read_json, told_failure, with_extra, with_words

VERSION = "2023-06-01"
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
            written_tokens=kept,
        )


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Message(msgspec.Struct):
    model: str | None = None
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    type: str | None = None
    error: _Error | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: Delta | None = None
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
            "max_tokens": request.max_tokens or defaults_of("anthropic", request.model).max_tokens,
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
        if found.type == "error":
            raise _failure(found.error)
        if found.content is None:
            raise no_answer(content, "content")
        return _answer(request, found, found.content, calls_in(found.content))

    def stream(self) -> AnswerStream:
        return _Stream()


class _Stream:
    def __init__(self) -> None:
        self._message = _Message()
        self._blocks = BlockPieces()
        self.is_complete = False

    def take(self, event: ServerEvent) -> str:
        found = read_json(event.data, _Event, "a piece of the answer of anthropic")
        if found.type == "error":
            raise _failure(found.error)
        message = found.message if found.type == "message_start" else None
        if message is not None:
            self._message.model, self._message.usage = message.model, message.usage
        if found.usage is not None:
            self._message.usage = found.usage.over(self._message.usage)
        if found.type == "message_stop":
            self.is_complete = True
        if found.delta is not None and found.delta.stop_reason is not None:
            self._message.stop_reason, self.is_complete = found.delta.stop_reason, True
        if found.type == "content_block_start" and found.content_block is not None:
            return self._blocks.begin(found.index, found.content_block)
        if found.type == "content_block_delta" and found.delta is not None:
            return self._blocks.take(found.index, found.delta)
        return ""

    def answer(self, request: ModelRequest) -> ModelAnswer:
        return _answer(request, self._message, self._blocks.blocks(), self._blocks.calls())


def _failure(told: _Error | None) -> ToldFailure:
    error = told or _Error()
    return told_failure(error.type, error.message, "", _STATUSES, has_said=False)


def _answer(
    request: ModelRequest, message: _Message, blocks: list[dict[str, Any]], calls: tuple[ToolCall, ...]
) -> ModelAnswer:
    return ModelAnswer(
        provider=request.provider,
        model=message.model or request.model,
        text=text_in(blocks),
        usage=Usage() if message.usage is None else message.usage.counted,
        is_usage_told=message.usage is not None and message.usage.output_tokens is not None,
        stop_reason=_STOPS.get(message.stop_reason or "", StopReason.END),
        tool_calls=calls,
        kept=kept_of(blocks),
    )


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    """The turns; what is wanted of JSON is said behind the last one of the user in the prompt.

    So a turn is the same whenever it is sent: what a model has thought after it would else not be taken back.
    """
    turns = request.messages
    last = max((at for at, turn in enumerate(request.prompt) if turn.role == "user"), default=None)
    if request.wants_json and last is not None:
        asked = msgspec.structs.replace(turns[last], content=with_words(turns[last].content, json_words(request)))
        turns = (*turns[:last], asked, *turns[last + 1 :])
    return anthropic_turns(turns)

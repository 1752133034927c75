"""The connector of OpenAI's chat completions, which many other servers speak too. Pure.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...sdk.spending.usage import Usage
from .answer import ModelAnswer, StopReason
from .events import ServerEvent
from .request import ModelRequest, ToolCall, text_of
from .router import is_reasoning
from .tool_wire import CallPieces, OpenAiCall, openai_calls, openai_tools, openai_turn, take_openai
from .wire import AnswerStream, in_stream_error, json_words, no_answer, read_json, with_extra, with_words

DONE = "[DONE]"
_STOPS = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOLS,
    "function_call": StopReason.TOOLS,
    "content_filter": StopReason.REFUSAL,
}
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
}


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None

    @property
    def counted(self) -> Usage:
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details is not None else None
        return Usage(
            input_tokens=self.prompt_tokens or 0,
            output_tokens=self.completion_tokens or 0,
            cached_tokens=cached or 0,
        )


class _Part(msgspec.Struct):
    text: str | None = None


class _Said(msgspec.Struct):
    """A message, or the next piece of one."""

    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[OpenAiCall] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or self.refusal or ""


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: _Error | str | None = None


class OpenAi:
    """``Connector`` for OpenAI and whoever speaks its format."""

    key_name = "OPENAI_API_KEY"

    def url(self, base_url: str) -> str:
        return f"{base_url.rstrip('/')}/chat/completions"

    def headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def body(self, request: ModelRequest) -> dict[str, Any]:
        limit = "max_completion_tokens" if is_reasoning(request.model) else "max_tokens"
        body: dict[str, Any] = {
            "model": request.model,
            "messages": _messages(request),
            "tools": openai_tools(request.tools),
            "temperature": request.temperature,
            limit: None if "max_completion_tokens" in request.extra else request.max_tokens,
            "top_p": request.top_p,
            "stop": list(request.stop) or None,
            "response_format": _response_format(request),
        }
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return with_extra(body, request)

    def read(self, request: ModelRequest, content: bytes) -> ModelAnswer:
        found = read_json(content, _Completion, "the answer of openai")
        if found.choices is None:
            raise no_answer(content, "choices")
        said = found.choices[0] if found.choices else _Choice()
        calls = openai_calls(said.message.tool_calls) if said.message is not None else ()
        return _answer(request, found.model, said.message, said.finish_reason, found.usage, calls)

    def stream(self) -> AnswerStream:
        return _Stream()


class _Stream:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._calls = CallPieces()
        self._refused = False
        self._model: str | None = None
        self._finish_reason: str | None = None
        self._usage: _Usage | None = None
        self.is_complete = False

    def take(self, event: ServerEvent) -> str:
        if event.data == DONE:
            self.is_complete = True
            return ""
        found = read_json(event.data, _Completion, "a piece of the answer of openai")
        if found.error is not None:
            error = found.error if isinstance(found.error, _Error) else _Error(message=found.error)
            raise in_stream_error(str(error.type or error.code or ""), error.message or "", _STATUSES)
        self._model = found.model or self._model
        self._usage = found.usage or self._usage
        if not found.choices:
            return ""
        choice = found.choices[0]
        if choice.finish_reason is not None:
            self._finish_reason, self.is_complete = choice.finish_reason, True
        delta = choice.delta or _Said()
        self._refused = self._refused or bool(delta.refusal)
        for call in delta.tool_calls or ():
            take_openai(self._calls, call, call.index)
        self._pieces.append(delta.text)
        return delta.text

    def answer(self, request: ModelRequest) -> ModelAnswer:
        text = "".join(self._pieces)
        said = _Said(refusal=text) if self._refused else _Said(content=text)
        return _answer(request, self._model, said, self._finish_reason, self._usage, self._calls.calls())


def _answer(
    request: ModelRequest,
    model: str | None,
    said: _Said | None,
    finish_reason: str | None,
    usage: _Usage | None,
    calls: tuple[ToolCall, ...],
) -> ModelAnswer:
    said = said or _Said()
    is_refused = bool(said.refusal) and not said.content
    return ModelAnswer(
        provider=request.provider,
        model=model or request.model,
        text=said.text,
        usage=Usage() if usage is None else usage.counted,
        is_usage_told=usage is not None and usage.completion_tokens is not None,
        stop_reason=StopReason.REFUSAL if is_refused else _STOPS.get(finish_reason or "", StopReason.END),
        tool_calls=calls,
    )


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    system, turns = request.system, request.messages
    if request.wants_json and _needs_words(request):
        system = str(with_words(system, json_words(request))) if system else json_words(request)
    head = [{"role": "system", "content": system}] if system else []
    return [*head, *map(openai_turn, turns)]


def _needs_words(request: ModelRequest) -> bool:
    """The mode for JSON is refused where no message speaks of it; without the mode, words are all that there is."""
    mode = _response_format(request)
    if mode is None or "schema" in mode["type"]:
        return mode is None
    texts = (request.system, *(text_of(turn.content) for turn in request.messages))
    return not any("json" in text.lower() for text in texts)


def _response_format(request: ModelRequest) -> dict[str, Any] | None:
    """The mode for JSON knows objects only; a schema of anything else is told in words."""
    if not request.wants_json:
        return None
    if request.schema is None:
        return {"type": "json_object"}
    if request.schema.get("type") != "object":
        return None
    name = re.sub("[^A-Za-z0-9_-]", "_", str(request.schema.get("title", "answer")))[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": request.schema}}

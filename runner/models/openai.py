"""The connector of OpenAI's chat completions, which many other servers speak too. Pure.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import re
from typing import Any, TypeGuard

import msgspec

from ...compiler.model_names import json_modes, thinks_first
from ...sdk.http.server_events import ServerEvent
from ...sdk.spending.usage import Usage
from .answer import ModelAnswer, StopReason
from .request import LIMITS, ModelRequest, ToolCall, text_of
from .tool_wire import OPENAI, CallPieces, OpenAiCall, openai_calls, openai_tools, openai_turn
from .wire import AnswerStream, json_words, no_answer, read_json, told_failure, with_extra, with_words

DONE = "[DONE]"
FAILED = "error"
"""The reason of an end that is none."""
REASONS = ("reasoning_content", "reasoning_details")
_STOPS = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOLS,
    "function_call": StopReason.TOOLS,
    "content_filter": StopReason.REFUSAL,
}
STATUSES = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
}


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None

    @property
    def counted(self) -> Usage:
        details = self.prompt_tokens_details or _Details()
        return Usage(
            input_tokens=self.prompt_tokens or 0,
            output_tokens=self.completion_tokens or 0,
            cached_tokens=details.cached_tokens or 0,
            written_tokens=details.cache_write_tokens or 0,
        )


class _Part(msgspec.Struct):
    text: str | None = None


class _Said(msgspec.Struct):
    """A message, or the next piece of one."""

    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[OpenAiCall] | None = None
    reasoning_content: Any = None
    reasoning_details: Any = None

    @property
    def kept(self) -> dict[str, Any]:
        """What other servers than OpenAI's want back of a turn: how they came to it."""
        return {name: value for name in REASONS if (value := getattr(self, name)) is not None}

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or self.refusal or ""


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Choice(msgspec.Struct):
    """``index``: which of several answers it is, or is a piece of; None of a lone one. The first one counts."""

    index: int | None = None
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None
    error: _Error | str | None = None


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
        limit = "max_completion_tokens" if thinks_first("openai", request.model) else "max_tokens"
        body: dict[str, Any] = {
            "model": request.model,
            "messages": _messages(request),
            "tools": openai_tools(request.tools),
            "temperature": request.temperature,
            limit: request.max_tokens if request.extra.keys().isdisjoint(LIMITS) else None,
            "top_p": request.top_p,
            "stop": list(request.stop) or None,
            "response_format": json_mode(request),
        }
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return with_extra(body, request)

    def read(self, request: ModelRequest, content: bytes) -> ModelAnswer:
        found = read_json(content, _Completion, "the answer of openai")
        _check(found)
        if found.choices is None:
            raise no_answer(content, "choices")
        said = _first(found)
        calls = openai_calls(said.message.tool_calls) if said.message is not None else ()
        return _answer(request, found.model, said.message, said.finish_reason, found.usage, calls)

    def stream(self) -> AnswerStream:
        return _Stream()


class _Stream:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._calls = CallPieces()
        self._reasons: dict[str, list[Any]] = {}
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
        _check(found)
        self._model = found.model or self._model
        self._usage = found.usage or self._usage
        choice = _first(found)
        if choice.finish_reason is not None:
            self._finish_reason, self.is_complete = choice.finish_reason, True
        delta = choice.delta or _Said()
        self._refused = self._refused or bool(delta.refusal)
        for call in delta.tool_calls or ():
            self._calls.take(call.index, call)
        for name, reason in delta.kept.items():
            self._reasons.setdefault(name, []).append(reason)
        self._pieces.append(delta.text)
        return delta.text

    def answer(self, request: ModelRequest) -> ModelAnswer:
        text = "".join(self._pieces)
        said = _Said(refusal=text) if self._refused else _Said(content=text)
        for name, pieces in self._reasons.items():
            setattr(said, name, _joined(pieces))
        return _answer(request, self._model, said, self._finish_reason, self._usage, self._calls.calls())


def _first(found: _Completion) -> _Choice:
    """Return the first answer, or the piece of it; nothing said where there is none."""
    return next((choice for choice in found.choices or () if not choice.index), _Choice())


def _check(found: _Completion) -> None:
    """Raise ToldFailure for an answer, or a piece of one, that tells of an error: gateways do so with status 200."""
    choice = _first(found)
    told = found.error if found.error is not None else choice.error
    if told is None and choice.finish_reason == FAILED:
        told = "the model has failed"
    if told is not None:
        error = told if isinstance(told, _Error) else _Error(message=told)
        said = choice.message or choice.delta or _Said()
        has_said = bool(said.text or said.tool_calls or said.kept)
        usage = found.usage.counted if _is_told(found.usage) else None
        raise told_failure(error.type or "", error.message or "", error.code or "", STATUSES, usage, has_said=has_said)


def _is_told(usage: _Usage | None) -> TypeGuard[_Usage]:
    return usage is not None and usage.completion_tokens is not None


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
        is_usage_told=_is_told(usage),
        stop_reason=StopReason.REFUSAL if is_refused else _STOPS.get(finish_reason or "", StopReason.END),
        tool_calls=calls,
        kept={OPENAI: said.kept} if said.kept else {},
    )


def _joined(pieces: list[Any]) -> Any:
    """Texts as one text, lists as one list; of what is neither the last."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces) or None
    if all(isinstance(piece, list) for piece in pieces):
        return [each for piece in pieces for each in piece]
    return pieces[-1]


def _messages(request: ModelRequest) -> list[dict[str, Any]]:
    system = system_of(request)
    head = [{"role": "system", "content": system}] if system else []
    return [*head, *map(openai_turn, request.messages)]


def system_of(request: ModelRequest) -> str:
    """Return the system prompt, with what is wanted of JSON where that has to be said in words."""
    if request.wants_json and _needs_words(request):
        words = json_words(request)
        return str(with_words(request.system, words)) if request.system else words
    return request.system


def _needs_words(request: ModelRequest) -> bool:
    """Without a mode words are all that there is, and that of objects knows no schema. It is refused, too, where no
    message speaks of JSON.
    """
    mode = json_mode(request)
    if mode is None or "schema" in mode["type"]:
        return mode is None
    texts = (request.system, *(text_of(turn.content) for turn in request.prompt))
    return request.schema is not None or not any("json" in text.lower() for text in texts)


def json_mode(request: ModelRequest) -> dict[str, Any] | None:
    """Return how JSON is asked for, None where it is not, or in words alone.

    The modes for JSON know objects only; a schema of anything else is told in words. So is all of it where ``extra``
    leaves the mode out.
    """
    is_left_out = request.extra.get("response_format", "") is None
    modes = json_modes(request.model) if request.wants_json and not is_left_out else ()
    schema = request.schema
    if not modes or (schema is not None and schema.get("type") != "object"):
        return None
    if schema is None or "json_schema" not in modes:
        return {"type": "json_object"}
    name = re.sub("[^A-Za-z0-9_-]", "_", str(schema.get("title", "answer")))[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}

"""Answers in the wire format of OpenAI's chat completions, as its reference documents them."""

from __future__ import annotations

import json
from typing import Any

USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
}
MODEL = "gpt-4o-2024-08-06"


def completion(content: Any, *, finish_reason: str = "stop", usage: Any = USAGE, **message: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": [], **message}
    choice: dict[str, Any] = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_741_569_952, "model": MODEL}
    return {**head, "choices": [choice], "usage": usage, "service_tier": "default"}


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**_CHUNK, "choices": [choice], "usage": None}


_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_694_268_190, "model": MODEL}
LAST: dict[str, Any] = {**_CHUNK, "choices": [], "usage": USAGE}


def stream(*pieces: str, finish_reason: str = "stop", usage: bool = True) -> bytes:
    """A whole stream: the role, the pieces, the reason, the usage, and the end."""
    chunks = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": piece}) for piece in pieces)]
    chunks += [chunk({}, finish_reason), *([LAST] if usage else [])]
    return b"".join(map(event, chunks)) + b"data: [DONE]\n\n"


def event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def error(message: str, type: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": None}}

"""Answers in the wire format of Anthropic's messages, as its reference documents them."""

from __future__ import annotations

import json
from typing import Any

MODEL = "claude-sonnet-4-5-20250929"
USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 4,
    "output_tokens": 10,
    "service_tier": "standard",
}


def message(*content: dict[str, Any], stop_reason: str | None = "end_turn", usage: Any = USAGE) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
    return {**head, "content": list(content), "stop_reason": stop_reason, "stop_sequence": None, "usage": usage}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def start() -> bytes:
    return event("message_start", message=message(stop_reason=None, usage={**USAGE, "output_tokens": 1}))


def delta(piece: str, index: int = 0) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})


def stream(*blocks: list[str], stop_reason: str = "end_turn") -> bytes:
    """A whole stream: of each block its pieces, with a ping among them, as the provider sends them."""
    parts = [start(), event("ping")]
    for index, pieces in enumerate(blocks):
        parts.append(event("content_block_start", index=index, content_block={"type": "text", "text": ""}))
        parts += [delta(piece, index) for piece in pieces]
        parts.append(event("content_block_stop", index=index))
    said = {"stop_reason": stop_reason, "stop_sequence": None}
    parts.append(event("message_delta", delta=said, usage={"output_tokens": 10}))
    return b"".join([*parts, event("message_stop")])


def error(message: str, type: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_1"}


def in_stream(type: str) -> bytes:
    """An error that comes in the middle of a stream."""
    return event("error", error={"type": type, "message": "x"})
